//! Runs tiny guests in QEMU: a few bytes of our own where a kernel would be. They write to the
//! console, and then power off, reset, hang, or wait for the power button.

#[path = "shared/documented.rs"]
mod documented;

use std::fs;
use std::path::{Path, PathBuf};

use builder::error::{Error, Id};
use builder::image::disk::Layout;
use builder::progress::{Mode, Progress};
use builder::recipe::model::{Disk, Mib};
use builder::run::{self, AccelChoice, Ending, Options, Serial, Summary, Timeout, Until};
use formats::architecture::Architecture;
use formats::node_config::{EXAMPLE, FIRMWARE_NAME};
use uuid::Uuid;

/// What a guest does after it has written its text.
#[derive(Clone, Copy)]
enum Then {
    PowersOff,
    Resets,
    Hangs,
    WaitsForThePowerButton,
    /// Writes what the firmware configuration device has under the name that its text is.
    CopiesAFile,
}

/// A kernel by the Linux boot protocol 2.00 (Documentation/arch/x86/boot.rst) whose real-mode part
/// is the whole guest. QEMU loads it at 0x90200 and the firmware jumps there.
fn kernel(text: &str, then: Then) -> Vec<u8> {
    let mut kernel = vec![0; 4 * 512];
    kernel[0x1f1] = 1; // sectors of the real-mode part after the first
    kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    kernel[0x200..0x202].copy_from_slice(&[0xeb, 0x7e]); // jmp 0x280
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x206..0x208].copy_from_slice(&[0x00, 0x02]);
    kernel[0x211] = 1; // loaded high
    let mut code = vec![
        0xfa, // cli
        0x8c, 0xc8, 0x8e, 0xd8, // ds = cs
        0xbe, 0x20, 0x01, // si = text
        0xba, 0xf8, 0x03, // dx = the serial port
        0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, // write up to a zero byte
    ];
    const POWER_OFF: [u8; 7] = [0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef]; // PM1_CNT: S5
    code.extend_from_slice(&match then {
        Then::PowersOff => POWER_OFF.to_vec(),
        Then::Resets => vec![0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee], // reset control register
        Then::Hangs => vec![],
        Then::CopiesAFile => {
            // docs/specs/fw_cfg of QEMU: a selector at port 0x510, data at 0x511; item 0x19 is the
            // directory, a count and entries of 64 bytes with size, selector and name.
            let mut code = vec![
                0x8c, 0xc8, 0x8e, 0xc0, 0xfc, // es = cs, upwards
                0xba, 0x10, 0x05, 0xb8, 0x19, 0x00, 0xef,
                0x42, // select the directory, dx = data
                0xec, 0xec, 0xec, 0x88, 0xc7, 0xec, 0x88, 0xc3, // bx = the count
                0xbf, 0x00, 0x04, 0xb9, 0x40, 0x00, 0xf3, 0x6c, // read an entry
                0xbe, 0x08, 0x04, 0xbf, 0x20, 0x01, // si = its name, di = text
                0xb9, 0x18, 0x00, 0xf3, 0xa6, 0x74, 0x05, // the same: go on below
                0x4b, 0x75, 0xe8, 0xeb, 0x2d, // the next one, or to the end
                0x4a, 0xa1, 0x04, 0x04, 0x86, 0xc4, 0xef, // select the file
                0x8b, 0x0e, 0x02, 0x04, 0x86, 0xcd, 0xe3, 0x1e, // cx = its size
                0xba, 0x11, 0x05, 0xec, 0x88, 0xc4, 0xba, 0xfd,
                0x03, // dx = the serial port's status, ah = a byte
                0xec, 0xa8, 0x20, 0x74, 0xfb, // until there is room
                0x88, 0xe0, 0xba, 0xf8, 0x03, 0xee, 0xe2,
                0xea, // write the byte; the next one
                0xba, 0xfd, 0x03, 0xec, 0xa8, 0x40, 0x74, 0xfb, // until all is out
            ];
            code.extend_from_slice(&POWER_OFF);
            code
        }
        Then::WaitsForThePowerButton => {
            let mut code = vec![
                0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef, // PM1_EN: power button
                0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xfa, // until PM1_STS has it
            ];
            code.extend_from_slice(&POWER_OFF);
            code
        }
    });
    code.extend_from_slice(&[0xf4, 0xeb, 0xfd]); // hlt, for ever
    kernel[0x280..0x280 + code.len()].copy_from_slice(&code);
    kernel[0x320..0x320 + text.len()].copy_from_slice(text.as_bytes());
    kernel
}

/// A disk of ours with nothing in its partitions.
fn disk() -> Vec<u8> {
    let sizes = Disk { esp: Mib(36), root: Mib(1), state: Mib(16), uki: Mib(2) };
    let table = Layout::plan(Architecture::Amd64, &sizes, 0, Uuid::nil(), &[])
        .unwrap()
        .table()
        .unwrap()
        .encode();
    let mut disk = table.head;
    disk.resize(usize::try_from(table.tail_offset).unwrap(), 0);
    disk.extend(table.tail);
    disk
}

struct Guest(tempfile::TempDir);

impl Guest {
    fn new(text: &str, then: Then) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("disk.raw", disk()),
            ("vmlinuz", kernel(text, then)),
            ("initrd", vec![0; 512]),
            ("cmdline", b"panic=5\n".to_vec()),
        ] {
            fs::write(directory.path().join(name), content).unwrap();
        }
        Self(directory)
    }

    fn options(&self) -> Options {
        let mut options = Options::new(self.0.path());
        options.direct = true;
        options.accel = AccelChoice::Tcg;
        options.memory = Mib(64);
        options.cpus = Some(1);
        options.no_network = true;
        options.serial = Serial::File(self.console_path());
        options
    }

    fn console_path(&self) -> PathBuf {
        self.0.path().join("console")
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.console_path()).unwrap()).into_owned()
    }
}

fn run(options: &Options) -> Result<Summary, Error> {
    run::run(options, &Progress::new(Mode::None))
}

fn limit(text: &str) -> Option<Timeout> {
    Some(text.parse().unwrap())
}

#[test]
fn the_summary_is_json_as_documented() {
    let guest = Guest::new("hello\r\n", Then::PowersOff);
    let output = builder::process::Command::new(env!("CARGO_BIN_EXE_orlop"))
        .args(["run", "--json", "--direct", "--accel", "tcg", "--memory", "64 MiB", "--cpus", "1"])
        .args(["--no-network", "--serial"])
        .arg(guest.console_path())
        .arg(guest.0.path())
        .run()
        .unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&output).unwrap();
    let mut table = documented::Table::of("`orlop run`");
    table.check(&value);
    // This guest knows nothing of boot marks.
    assert_eq!(value["marks"], serde_json::json!([]));
    let mark: serde_json::Value =
        serde_json::to_value(run::Mark { name: "a".into(), ns: 1 }).unwrap();
    value["marks"] = vec![mark].into();
    table.check(&value);
    table.complete();
}

#[test]
fn a_guest_that_powers_off_is_a_success_and_what_it_cost_is_known() {
    let guest = Guest::new("hello\r\n", Then::PowersOff);
    let summary = run(&guest.options()).unwrap();
    assert_eq!(summary.ending, Ending::PoweredOff);
    let usage = summary.usage.unwrap();
    assert!(usage.cpu_seconds > 0.0, "{usage:?}");
    assert!(usage.peak_memory > 8 * 1024 * 1024, "{usage:?}");
    assert!(guest.console().ends_with("hello\r\n"), "{:?}", guest.console());
}

#[test]
fn a_reset_ends_the_run_and_the_error_shows_the_console() {
    let guest = Guest::new("the root is damaged\r\n", Then::Resets);
    let error = run(&guest.options()).unwrap_err();
    assert_eq!(error.id(), Id::GuestReset);
    assert!(error.chain().ends_with("\n  the root is damaged"), "{}", error.chain());
}

#[test]
fn a_panic_is_named_even_if_a_reset_follows_at_once() {
    let guest = Guest::new("Kernel panic - not syncing: oh\r\n", Then::Resets);
    let error = run(&guest.options()).unwrap_err();
    assert_eq!(error.id(), Id::GuestPanic);
    assert!(error.chain().contains("panicked: `Kernel panic - not syncing: oh`"), "{error}");
}

#[test]
fn a_guest_that_hangs_is_ended_when_its_time_is_over() {
    let guest = Guest::new("waiting for a root\r\n", Then::Hangs);
    let mut options = guest.options();
    options.until = Some(Until::Init);
    options.timeout = limit("1s");
    let error = run(&options).unwrap_err();
    assert_eq!(error.id(), Id::GuestTimeout);
    let want = "did not reach `root-init-start` within 1 s; no mark came";
    assert!(error.chain().contains(want), "{}", error.chain());
}

#[test]
fn a_guest_that_ends_before_what_is_waited_for_is_a_failure() {
    let guest = Guest::new("done already\r\n", Then::PowersOff);
    let mut options = guest.options();
    options.until = Some(Until::Cri);
    let error = run(&options).unwrap_err();
    assert_eq!(error.id(), Id::GuestEnded);
    assert!(error.chain().ends_with("\n  done already"), "{}", error.chain());
}

#[test]
fn the_image_is_never_written_and_a_kept_disk_appears_beside_it() {
    let guest = Guest::new("x", Then::PowersOff);
    let mut options = guest.options();
    options.disk = Some(guest.0.path().join("kept"));
    options.disk_size = Some(Mib(128));
    run(&options).unwrap();
    assert_eq!(fs::read(guest.0.path().join("disk.raw")).unwrap(), disk());
    assert!(fs::read(guest.0.path().join("kept")).unwrap().starts_with(b"QFI\xfb"));
}

#[test]
fn the_disk_of_the_image_is_refused_as_the_disk_to_keep_and_as_the_console() {
    let guest = Guest::new("x", Then::PowersOff);
    let own = guest.0.path().join("disk.raw");
    let mut options = guest.options();
    options.disk = Some(own.clone());
    assert_eq!(run(&options).unwrap_err().id(), Id::ImageWritten);
    options.disk = None;
    options.serial = Serial::File(own.clone());
    assert_eq!(run(&options).unwrap_err().id(), Id::ImageWritten);
    assert_eq!(fs::read(own).unwrap(), disk());
}

#[test]
fn a_port_that_is_taken_is_told_before_qemu_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let guest = Guest::new("x", Then::PowersOff);
    let mut options = guest.options();
    options.no_network = false;
    options.forward = vec![format!("{port}:80").parse().unwrap()];
    let error = run(&options).unwrap_err();
    assert_eq!(error.id(), Id::PortTaken);
    assert!(!guest.console_path().exists(), "QEMU was started");
}

/// A relative path in an argument for QEMU is one of the user's directory, here the package's.
#[test]
fn arguments_for_qemu_are_read_where_the_user_is() {
    let guest = Guest::new("ok\n", Then::PowersOff);
    let mut options = guest.options();
    options.qemu = ["-fw_cfg", "name=opt/org.orlop/test,file=Cargo.toml"].map(Into::into).to_vec();
    assert_eq!(run(&options).unwrap().ending, Ending::PoweredOff);
}

/// What the guest was given, written to its console.
fn given(guest: &Guest, options: &Options) -> String {
    run(options).unwrap();
    let console = guest.console();
    console.strip_prefix(FIRMWARE_NAME).unwrap().to_owned()
}

#[test]
fn the_guest_is_given_the_configuration_that_was_named_and_checked() {
    let guest = Guest::new(FIRMWARE_NAME, Then::CopiesAFile);
    let mut options = guest.options();
    assert_eq!(given(&guest, &options), "");
    let file = guest.0.path().join("worker.toml");
    fs::write(&file, "schema = 1 # mine\n").unwrap();
    options.config = Some(file.clone());
    assert_eq!(given(&guest, &options), "schema = 1 # mine\n");
    fs::write(&file, "schema = 1\nhostnam = 'a'\n").unwrap();
    assert_eq!(run(&options).unwrap_err().id(), Id::NodeConfig);
}

#[test]
fn a_node_with_kubelet_is_given_the_demonstration_unless_it_has_a_configuration() {
    let guest = Guest::new(FIRMWARE_NAME, Then::CopiesAFile);
    let mut options = guest.options();
    let manifest = guest.0.path().join("manifest.txt");
    fs::write(&manifest, "d 0755 0 0 /\nf 0755 0 0 /usr/bin/kubelets ab 1\n").unwrap();
    assert_eq!(given(&guest, &options), "");
    fs::write(&manifest, "d 0755 0 0 /\nf 0755 0 0 /usr/bin/kubelet ab 1\n").unwrap();
    assert_eq!(given(&guest, &options), EXAMPLE);
    options.no_config = true;
    assert_eq!(given(&guest, &options), "");
    options.no_config = false;
    options.disk = Some(guest.0.path().join("kept"));
    assert_eq!(given(&guest, &options), EXAMPLE);
    assert_eq!(given(&guest, &options), "", "the kept disk has it");
}

#[test]
fn what_is_not_ours_is_not_started() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("disk.raw");
    fs::write(&file, vec![0; 65536]).unwrap();
    assert_eq!(run(&Options::new(&file)).unwrap_err().id(), Id::NotOurImage);
    assert_eq!(run(&Options::new(Path::new("/no/such/image"))).unwrap_err().id(), Id::Read);
}

/// Alone in sending a signal to this process, which every run under way takes for itself: so it is
/// the child of a test process of its own.
#[test]
fn ctrl_c_presses_the_power_button() {
    if std::env::var_os("ORLOP_TEST_INTERRUPT").is_none() {
        let exe = std::env::current_exe().unwrap();
        builder::process::Command::new(exe)
            .args(["--exact", "ctrl_c_presses_the_power_button", "--nocapture"])
            .env("ORLOP_TEST_INTERRUPT", "1")
            .run()
            .unwrap();
        return;
    }
    let guest = Guest::new("press\n", Then::WaitsForThePowerButton);
    let fifo = guest.console_path();
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .unwrap();
    let reader = std::thread::spawn(move || {
        let console = std::io::BufReader::new(fs::File::open(fifo).unwrap());
        for line in std::io::BufRead::lines(console) {
            if line.unwrap().contains("press") {
                let ourselves = rustix::process::getpid();
                rustix::process::kill_process(ourselves, rustix::process::Signal::INT).unwrap();
            }
        }
    });
    let mut options = guest.options();
    options.timeout = limit("60s");
    let summary = run(&options).unwrap();
    reader.join().unwrap();
    assert_eq!(summary.ending, Ending::PoweredOff);
}
