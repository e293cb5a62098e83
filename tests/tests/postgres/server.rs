//! A server in a temporary folder, as the installed package has it: by socket only, with segments of 1 MiB.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use csm_gather::relief::Place;
use csm_testkit::wait::retry;
use tempfile::TempDir;

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked for: each look is a program that is run.
const LOOK: Duration = Duration::from_millis(20);

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

/// A running server, which is stopped when it is dropped.
pub struct Server {
    home: TempDir,
    bin: PathBuf,
}

/// The folder of the newest server that is installed.
fn installed() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let with_server = versions
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists());
    let newest = with_server.max_by_key(|bin| {
        let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    newest.expect("these tests need a PostgreSQL server: apt-get install -y --no-install-recommends postgresql-15 postgresql-client-15")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Root cannot run a server: it is run as the package's user.
fn as_user(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
        .arg(program);
    command
}

/// Waits for a condition.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let waited = runtime.block_on(retry(LOOK, PATIENCE, async || if holds() { Ok(()) } else { Err(()) }));
    assert!(waited.is_ok(), "{what}: not within {PATIENCE:?}");
}

impl Server {
    fn empty() -> Self {
        let home = tempfile::Builder::new().prefix("csm-pg-").tempdir_in("/tmp").unwrap();
        if is_root() {
            let ran = Command::new("chown").arg("postgres:postgres").arg(home.path()).status().unwrap();
            assert!(ran.success(), "chown to the user postgres, which the package makes");
        }
        let server = Self { home, bin: installed() };
        Self::run_as_user("mkdir", &["archive", "socket"].map(|name| server.path(name).display().to_string()));
        server
    }

    /// A primary that archives to a folder, and keeps 64 segments for standbys.
    pub fn start() -> Self {
        let server = Self::empty();
        let data = server.data().display().to_string();
        let options = [
            "-D",
            &data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "--wal-segsize=1",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ];
        server.tool("initdb", &options);
        let archive = server.path("archive").display().to_string();
        server.configure(&[
            ("listen_addresses", ""),
            ("fsync", "off"),
            ("archive_mode", "on"),
            ("archive_command", &format!("test ! -e {archive}/down && cp %p {archive}/%f")),
            ("wal_keep_size", "64MB"),
            ("min_wal_size", "2MB"),
            ("max_wal_size", "32MB"),
            ("checkpoint_timeout", "1h"),
            ("hot_standby", "on"),
        ]);
        server.run();
        server
    }

    /// A standby of this one, which streams. `slot`: through this slot, which is there.
    pub fn standby(&self, name: &str, slot: Option<&str>) -> Self {
        let standby = Self::empty();
        let (source, data) = (self.connection(), standby.data().display().to_string());
        let source = format!("{source} application_name={name}");
        let mut options = vec!["-d", &source, "-D", &data, "-R", "-X", "stream", "-c", "fast", "--no-sync"];
        options.extend(slot.into_iter().flat_map(|slot| ["-S", slot]));
        standby.tool("pg_basebackup", &options);
        let socket = standby.path("socket").display().to_string();
        standby.configure(&[
            ("unix_socket_directories", &socket),
            ("cluster_name", name),
            ("archive_mode", "off"),
        ]);
        standby.run();
        self.sees(name);
        standby
    }

    /// Waits until a standby streams.
    pub fn sees(&self, name: &str) {
        let query = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}' AND state = 'streaming' AND flush_lsn IS NOT NULL"
        );
        until("the standby streams", || self.sql(&query) == "1");
    }

    fn configure(&self, settings: &[(&str, &str)]) {
        let socket = self.path("socket").display().to_string();
        let all = settings.iter().copied().chain([("unix_socket_directories", &*socket)]);
        let lines: Vec<String> = all.map(|(name, value)| format!("{name} = '{value}'\n")).collect();
        let file = self.data().join("postgresql.auto.conf");
        let before = fs::read_to_string(&file).unwrap();
        fs::write(&file, before + &lines.concat()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn wal(&self, name: &str) -> PathBuf {
        self.data().join("pg_wal").join(name)
    }

    fn connection(&self) -> String {
        format!("host={} user=postgres dbname=postgres", self.path("socket").display())
    }

    /// As a reading has it: see [`super::reading`].
    pub fn place(&self) -> Place {
        Place {
            bin: self.bin.display().to_string(),
            wal: self.wal("").display().to_string().trim_end_matches('/').to_owned(),
        }
    }

    fn run_as_user(program: &str, arguments: &[String]) {
        let ran = as_user(program).args(arguments).current_dir("/").output().unwrap();
        assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    /// A program of the server's package, which has to succeed.
    pub fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let ran = as_user(self.bin.join(program))
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    /// One that goes on.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        as_user(self.bin.join(program))
            .args(arguments)
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    pub fn run(&self) {
        let (data, log) = (self.data().display().to_string(), self.path("log").display().to_string());
        // Its output goes to the log: a pipe that it keeps open would be waited for.
        let mut command = as_user(self.bin.join("pg_ctl"));
        command
            .args(["start", "-w", "-s", "-D", &data, "-l", &log])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let started = command.status().unwrap().success();
        assert!(started, "{}", fs::read_to_string(log).unwrap_or_default());
    }

    /// As a crash: no checkpoint.
    pub fn crash(&self) {
        self.stop("immediate");
    }

    pub fn stop(&self, mode: &str) {
        self.tool(
            "pg_ctl",
            &["stop", "-w", "-s", "-m", mode, "-D", &self.data().display().to_string()],
        );
    }

    /// As in the container: by argument vector, with the server's socket in the environment.
    pub fn exec(&self, arguments: &[String]) -> Ran {
        let (program, arguments) = arguments.split_first().unwrap();
        let path = format!("{}:/usr/bin:/bin", self.bin.display());
        let program = if program == "psql" {
            self.bin.join("psql")
        } else {
            PathBuf::from(program)
        };
        let mut command = as_user(program);
        command.args(arguments).current_dir("/").stdin(Stdio::null());
        command.env("PGHOST", self.path("socket")).env("PATH", path);
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran {
            ok: output.status.success(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    pub fn sql(&self, statement: &str) -> String {
        self.tool(
            "psql",
            &["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &self.connection(), "-c", statement],
        )
        .trim()
        .to_owned()
    }

    /// Writes so many segments, each with next to nothing in it.
    pub fn write(&self, segments: u32) {
        self.sql(&format!(
            "DO $$ BEGIN FOR i IN 1..{segments} LOOP PERFORM pg_logical_emit_message(false, 't', 'x'); PERFORM pg_switch_wal(); END LOOP; END $$"
        ));
    }

    /// Waits until all that is complete is archived.
    pub fn is_archived(&self) {
        until("all is archived", || self.marks().iter().all(|name| !name.contains(".ready")));
    }

    /// Archiving fails from now on.
    pub fn archive_is_down(&self) {
        fs::write(self.path("archive").join("down"), "").unwrap();
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.collect()
    }

    pub fn marks(&self) -> BTreeSet<String> {
        Self::names(&self.wal("archive_status"))
    }

    /// The segments in `pg_wal`.
    pub fn segments(&self) -> BTreeSet<String> {
        let is_segment = |name: &String| name.len() == 24 && name.bytes().all(|b| b.is_ascii_hexdigit());
        Self::names(&self.wal("")).into_iter().filter(is_segment).collect()
    }

    /// The segment that is written now, or next: at the border of two, `pg_walfile_name` names the one before.
    pub fn current(&self) -> String {
        self.sql("SELECT pg_walfile_name(pg_current_wal_lsn() + 1)")
    }

    /// Reads all that is left of the WAL, up to a segment that is complete: `pg_waldump` fails at a gap.
    pub fn has_no_gap(&self) {
        self.sql("SELECT pg_logical_emit_message(false, 't', 'x')");
        let last = self.sql("SELECT pg_walfile_name(pg_switch_wal())");
        let first = self.segments().first().cloned().unwrap();
        self.tool("pg_waldump", &["-q", "-p", &self.wal("").display().to_string(), &first, &last]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stop = as_user(self.bin.join("pg_ctl"));
        stop.args(["stop", "-s", "-m", "immediate", "-D"]).arg(self.data()).current_dir("/");
        drop(stop.stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}
