//! The commands of `orlop-node`, in a table. Users do not type them: PID 1 and the units do.

use std::ffi::OsString;

use crate::arguments::{Arguments, Failure};
use crate::{
    configure, devices, image_credentials, images, kata, kernel, masquerade, pods, source, state,
    sysctl,
};

/// One thing that the program can do.
#[derive(Debug)]
struct Command {
    name: &'static str,
    /// What follows the name, for the help.
    arguments: &'static str,
    about: &'static str,
    run: fn(&mut Arguments) -> Result<(), Failure>,
}

/// All commands, in the order of the help.
const COMMANDS: &[Command] = &[
    Command {
        name: "apply-sysctl",
        arguments: "[--root DIR]",
        about: "give the kernel the settings that the node config has",
        run: sysctl::command,
    },
    Command {
        name: "check-kata",
        arguments: "[--root DIR]",
        about: "find out whether pods can run in virtual machines here",
        run: kata::command,
    },
    Command {
        name: "configure",
        arguments: "[--url | --disks | --after-crash] [--root DIR]",
        about: "take in the node config; with --url, fetch it first; with --disks, because a disk \
                did not answer; with --after-crash, look at what the last boot left",
        run: configure::command,
    },
    Command {
        name: "devices",
        arguments: "[--once] [--root DIR]",
        about: "make device nodes and links to disks, and follow what comes and goes",
        run: devices::command,
    },
    Command {
        name: image_credentials::COMMAND,
        arguments: "[--root DIR]",
        about: "answer kubelet who pulls an image",
        run: image_credentials::command,
    },
    Command {
        name: "import-images",
        arguments: "[--socket PATH] DIR",
        about: "give containerd the images of DIR/*.tar that it does not have",
        run: images::command,
    },
    Command {
        name: "look-at-disk",
        arguments: "NAME [--root DIR]",
        about: "say what a disk is and which volumes for a node config it has; it may never end",
        run: source::disks::look_command,
    },
    Command {
        name: "masquerade",
        arguments: "",
        about: "let the pods of the bridge of a config that was fetched reach the world",
        run: masquerade::command,
    },
    Command {
        name: "mend-state",
        arguments: "DEVICE",
        about: "put a copy in the place of the damaged superblock of STATE",
        run: state::mend_command,
    },
    Command {
        name: "prepare-kernel",
        arguments: "[--root DIR]",
        about: "mount configfs, and keep root out of the kernel unless the node config does not",
        run: kernel::command,
    },
    Command {
        name: "read-volume",
        arguments: "DISK DEVICE TYPE [--root DIR]",
        about: "write out the node config of a volume; it may never end",
        run: source::disks::read_command,
    },
    Command {
        name: "reset-state",
        arguments: "DEVICE",
        about: "make STATE anew: all that is on it is lost",
        run: state::reset_command,
    },
    Command {
        name: "stop-pods",
        arguments: "[--socket PATH] [--grace SECONDS]",
        about: "stop all containers, each with the grace of its pod, then all pods",
        run: pods::command,
    },
];

/// Runs the command that the arguments (without the program's name) ask for.
///
/// # Errors
/// See [`Failure`].
pub fn run(arguments: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    run_one(arguments).map_err(|failure| match failure {
        Failure::Usage(message) => Failure::Usage(format!("{message}\n{}", help())),
        Failure::Failed(_) => failure,
    })
}

fn run_one(arguments: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let mut arguments = Arguments::new(arguments)?;
    let name = arguments.operand("COMMAND")?;
    if ["help", "--help", "-h"].contains(&name.as_str()) {
        eprintln!("{}", help());
        return Ok(());
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return Err(Failure::Usage(format!("there is no command `{name}`")));
    };
    (command.run)(&mut arguments)
}

fn help() -> String {
    let mut text = String::from("usage: orlop-node COMMAND");
    for Command { name, arguments, about, .. } in COMMANDS {
        text.push_str(&format!("\n  {name} {arguments}\n      {about}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_call_is_answered_with_the_commands_there_are() {
        for (call, message) in [
            ("", "COMMAND is missing"),
            ("confgure", "there is no command `confgure`"),
            ("configure --now", "`--now` is not expected here"),
            ("configure --root", "`--root` needs a value"),
        ] {
            let failure = run(call.split_whitespace().map(OsString::from)).unwrap_err();
            assert_eq!(failure.status(), 2);
            let text = format!("{message}\nusage: orlop-node COMMAND\n  apply-sysctl [--root");
            assert!(failure.to_string().starts_with(&text), "{failure}");
        }
        assert_eq!(run([OsString::from("--help")].into_iter()), Ok(()));
    }
}
