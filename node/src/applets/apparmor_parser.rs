//! `apparmor_parser -Kr FILE`, as containerd runs it when its own profile is not loaded
//! (`contrib/apparmor/template.go`): loads the profile of the image that is called as the one in the
//! file. Any other call fails, for this is no compiler.

use super::{Answer, Failure};
use crate::apparmor;
use crate::root::Root;

const USAGE: &str = "a node has no compiler for AppArmor's profiles; of this program it has \
                     `apparmor_parser -Kr FILE`, which loads the profile of the image that is called \
                     as the one in the file";

pub(super) fn run(arguments: &[String]) -> Answer {
    run_in(&Root::new("/"), arguments)
}

fn run_in(root: &Root, arguments: &[String]) -> Answer {
    let [options, file] = arguments else { return Err(Failure(2, USAGE.to_owned())) };
    if options != "-Kr" {
        return Err(Failure(2, USAGE.to_owned()));
    }
    apparmor::load_named(root, file).map(|()| String::new()).map_err(|why| Failure(1, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{Keep, PUBLIC};

    #[test]
    fn what_containerd_asks_for_is_done_and_all_else_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let write = |path: &str, text: &str| {
            root.write(path, text.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
        };
        write("/usr/lib/orlop/apparmor/one", "compiled");
        write("/sys/kernel/security/apparmor/.replace", "");
        write("/tmp/one123", "profile one {\n}\n");
        write("/tmp/two123", "profile two {\n}\n");
        let called = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(|&word| word.to_owned()).collect();
            run_in(&root, &arguments)
        };
        assert_eq!(called(&["-Kr", "/tmp/one123"]), Ok(String::new()));
        let given = std::fs::read(root.path("/sys/kernel/security/apparmor/.replace")).unwrap();
        assert_eq!(given, b"compiled");
        assert_eq!(called(&["-Kr", "/tmp/two123"]).unwrap_err().0, 1);
        for wrong in [&["-R", "/tmp/one123"][..], &["/tmp/one123"], &["--version"], &[]] {
            assert_eq!(called(wrong), Err(Failure(2, USAGE.to_owned())), "{wrong:?}");
        }
    }
}
