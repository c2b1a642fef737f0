//! A panel as a process, for the benches that measure it from outside.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whatever stops a bench.
pub type Failure = Box<dyn std::error::Error>;

/// Longest wait for a panel to listen.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// Ended with its bench.
pub struct Panel {
    pub child: Child,
    pub url: String,
    pub folder: tempfile::TempDir,
}

impl Drop for Panel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Panel {
    /// Starts one in a folder of its own, with these settings on top.
    pub fn start(settings: &[(&str, &str)]) -> Result<Panel, Failure> {
        Panel::over(tempfile::tempdir()?, settings)
    }

    /// Ends it and starts it again in the same folder, with other settings on top.
    pub fn again(mut self, settings: &[(&str, &str)]) -> Result<Panel, Failure> {
        self.child.kill()?;
        self.child.wait()?;
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir()?);
        Panel::over(folder, settings)
    }

    /// Starts one over what lies in this folder, with these settings on top.
    pub fn over(folder: tempfile::TempDir, settings: &[(&str, &str)]) -> Result<Panel, Failure> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let url = format!("http://127.0.0.1:{port}");
        let child = Command::new(env!("CARGO_BIN_EXE_roost"))
            .arg("serve")
            .current_dir(folder.path())
            .env("LISTEN", format!("127.0.0.1:{port}"))
            .env("BACKEND_URL", &url)
            .env("PUBLIC_HOST", "127.0.0.1")
            .env("DATA_DIR", folder.path().join("data"))
            .env("NODE_LISTEN", "off")
            .env("REQUESTS_PER_MINUTE", "0")
            .env("CONNECTIONS_PER_ADDRESS", "100000")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log"))?)
            .spawn()?;
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begin.elapsed() > UP_WITHIN {
                return Err("the panel does not come up".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Panel { child, url, folder })
    }
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
