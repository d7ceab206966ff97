//! A real file system that is really full: a small one in memory, mounted in namespaces of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A mount over a directory that only commands started through it see. Dropping it takes it away.
pub struct SmallDisk {
    keeper: Child,
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts an empty one with these options (`size=4m,nr_inodes=50`) over a directory. `None`, and a line
    /// that says so, where an ordinary user may not do that.
    pub fn over(place: &Path, options: &str) -> Option<Self> {
        let script = r#"mount -t tmpfs -o "$1" none "$0" && echo ready && exec cat"#;
        let mut keeper = Command::new("unshare")
            .args(["-rm", "sh", "-c", script])
            .args([place.as_os_str(), options.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let _ = BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line);
        if line != "ready\n" {
            let out = keeper.wait_with_output().unwrap();
            let why = String::from_utf8_lossy(&out.stderr).into_owned();
            let _ =
                writeln!(std::io::stderr(), "NOT TESTED, no mount in a user namespace here: {why}");
            return None;
        }
        Some(Self { keeper, place: place.to_owned() })
    }

    /// A path on it, as this process can name it.
    pub fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.place.strip_prefix("/").unwrap()).join(name)
    }

    /// The same command where the mount is seen: environment and directory stay.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args(["-t", &self.keeper.id().to_string(), "-U", "-m", "--preserve-credentials"]);
        inside.args(["sh", "-c", r#"cd "$0" && exec "$@""#]);
        inside.arg(command.get_current_dir().unwrap_or(Path::new("/")));
        inside.arg(command.get_program()).args(command.get_args()).env_clear();
        inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inside.stdin(Stdio::null());
        inside
    }

    /// Other options for the same mount: `remount,ro`.
    #[track_caller]
    pub fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", options]).arg(&self.place);
        mount.env("PATH", std::env::var_os("PATH").unwrap());
        assert!(self.inside(&mount).status().unwrap().success());
    }

    /// Takes all the room that is left, but for so many bytes.
    pub fn fill(&self, but: u64) {
        let path = self.path("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
        let size = file.metadata().unwrap().len();
        file.set_len(size.saturating_sub(but)).unwrap();
    }

    /// Gives the room back.
    pub fn free(&self) {
        std::fs::remove_file(self.path("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The end of its input is the end of the keeper, and with it of its namespaces.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
