//! A container image from nothing with the shell of the Debian package busybox-static, for games that misbehave on purpose.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Once;

pub const IMAGE: &str = "roost-test/busybox:1";
const PROGRAM: &str = "/bin/busybox";

static MADE: Once = Once::new();

pub fn image() {
    MADE.call_once(|| made(IMAGE, &[]));
}

/// The same with lines as in a Dockerfile.
pub fn made(name: &str, changes: &[&str]) {
    assert!(std::path::Path::new(PROGRAM).exists(), "the tests want the package busybox-static");
    let program = std::fs::read(PROGRAM).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "busybox", program.as_slice()).unwrap();
    let archive = tar.into_inner().unwrap();
    let mut import = Command::new("docker")
        .arg("import")
        .args(changes.iter().flat_map(|change| ["-c", change]))
        .args(["-", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(&archive).unwrap();
    assert!(import.wait().unwrap().success());
}
