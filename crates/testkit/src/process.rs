//! Child processes of the tests: a log file each, a process group each, ended for certain.
//!
//! A process that is not [detached](Command::detached) dies with this program, however this program ends: `setpriv
//! --pdeathsig KILL` (util-linux) asks the kernel for it. The kernel ties that promise to the *thread* that spawned, so
//! all of them are spawned by one thread that lives as long as the program.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, test_kill_process};
use serde::{Deserialize, Serialize};

/// After SIGKILL only the kernel is left to wait for.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A program to be started.
#[derive(Clone, Debug)]
pub struct Command {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    log: PathBuf,
    detached: bool,
}

impl Command {
    /// `program` with its output appended to `log`. The program's file name serves as its name in messages.
    pub fn new(program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        let program = program.into();
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        Self {
            name,
            program,
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
            log: log.into(),
            detached: false,
        }
    }

    /// Calls the process something else in messages.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets its working directory.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Lets it outlive this program. The caller keeps its [`ProcessId`] to find it again.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }

    /// Starts it in a process group of its own.
    pub fn spawn(self) -> Result<Process> {
        let Self {
            name,
            program,
            arguments,
            environment,
            directory,
            log,
            detached,
        } = self;
        if program.is_absolute() && !program.is_file() {
            bail!("{name}: there is no program {}", program.display());
        }
        let output = OpenOptions::new().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("{name}: open the log {}", log.display()))?;
        let errors = output
            .try_clone()
            .with_context(|| format!("{name}: open the log {}", log.display()))?;
        let mut command = if detached {
            std::process::Command::new(&program)
        } else {
            let mut command = std::process::Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(&program);
            command
        };
        command
            .args(arguments)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0);
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        let child = spawn_from_lasting_thread(command).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound && !detached {
                anyhow!("{name}: `setpriv` is not in PATH: install util-linux")
            } else {
                anyhow!(error).context(format!("{name}: start {}", program.display()))
            }
        })?;
        Ok(Process {
            name,
            child,
            log,
            detached,
            ended: None,
        })
    }
}

type Spawned = std::io::Result<Child>;

/// Spawns from the one thread that lives as long as this program (see the module's text).
fn spawn_from_lasting_thread(command: std::process::Command) -> Spawned {
    static SPAWNER: OnceLock<mpsc::Sender<(std::process::Command, mpsc::Sender<Spawned>)>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<(std::process::Command, mpsc::Sender<Spawned>)>();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, reply) in receiver {
                    // A caller that is gone has no use for the child: it is ended at once.
                    if let Err(mpsc::SendError(Ok(mut orphan))) = reply.send(command.spawn()) {
                        let _ = orphan.kill();
                        let _ = orphan.wait();
                    }
                }
            })
            .map_or_else(|_| mpsc::channel().0, |_| sender)
    });
    let (reply, answer) = mpsc::channel();
    let gone = || std::io::Error::other("the spawning thread could not be started");
    spawner.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// A running child. Dropping it kills it, unless it is detached.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    detached: bool,
    ended: Option<ExitStatus>,
}

impl Process {
    /// The name used in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Something that finds this very process again, also from another program.
    pub fn id(&self) -> Result<ProcessId> {
        ProcessId::of(self.pid())
    }

    /// The file that its output goes to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its exit status once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// True while it runs.
    pub fn is_alive(&mut self) -> bool {
        self.ended().is_none()
    }

    /// An error with its status and the end of its log if it has ended, for loops that wait for it to be ready.
    pub fn check(&mut self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} ended with {status}; the end of its log:\n{}", self.name, self.tail(20))),
        }
    }

    /// The last lines of its log.
    pub fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    /// SIGTERM, then SIGKILL after `grace`, to its whole group. Returns when it is gone.
    pub fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended() {
            return Ok(status);
        }
        self.signal(Signal::TERM);
        if let Some(status) = self.wait(grace) {
            return Ok(status);
        }
        self.kill()
    }

    /// SIGKILL to its whole group. Returns when it is gone.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL);
        self.wait(KILL_PATIENCE)
            .ok_or_else(|| anyhow!("{} (pid {}) does not end after SIGKILL", self.name, self.pid()))
    }

    /// Waits for its end, at most `patience`.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        if self.ended().is_none()
            && let Some(pid) = pid(self.pid())
            && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
        {
            ends(&process, patience);
        }
        self.ended()
    }

    /// Sends a signal to its group. A child that was not waited for keeps its pid, so this cannot hit a stranger.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = pid(self.pid())
        {
            // The one way this fails is that the process is gone, which is what is wanted.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.detached && self.is_alive() {
            let _ = self.kill();
        }
    }
}

/// A process that may belong to another program: the pid and when it started, since pids are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id.
    pub pid: u32,
    /// Clock ticks between boot and the start of the process: field 22 of `/proc/PID/stat` (proc(5)).
    pub started: u64,
}

impl ProcessId {
    /// The identity of a running process.
    pub fn of(pid: u32) -> Result<Self> {
        let started = started(pid).with_context(|| format!("process {pid} is not there"))?;
        Ok(Self { pid, started })
    }

    /// This program itself.
    pub fn this() -> Result<Self> {
        Self::of(std::process::id())
    }

    /// True while this very process runs (a zombie does not count).
    pub fn is_alive(self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Whether it ends, at most within `patience`.
    fn ends(self, patience: Duration) -> bool {
        let process = pid(self.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        // Opened before the look, so that what is waited for is this very process.
        match process {
            Some(Ok(process)) if self.is_alive() => ends(&process, patience),
            _ => !self.is_alive(),
        }
    }

    /// SIGTERM, then SIGKILL after `grace`, to the group it leads, or to it alone where it leads none.
    pub fn stop(self, grace: Duration) -> Result<()> {
        for (signal, patience) in [(Signal::TERM, grace), (Signal::KILL, KILL_PATIENCE)] {
            self.signal(signal);
            if self.ends(patience) {
                return Ok(());
            }
        }
        bail!("process {} does not end after SIGKILL", self.pid)
    }

    /// Whether each of its threads stands still after SIGSTOP, which takes a moment (proc(5), the third field of stat).
    pub fn stands_still(self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid)) else {
            return false;
        };
        let stands = |stat: String| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'));
        self.is_alive()
            && threads
                .flatten()
                .all(|thread| fs::read_to_string(thread.path().join("stat")).is_ok_and(stands))
    }

    /// Sends a signal, if this very process still runs.
    pub fn signal(self, signal: Signal) {
        if !self.is_alive() {
            return;
        }
        if let Some(pid) = pid(self.pid)
            && kill_process_group(pid, signal).is_err()
        {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Waits for the end of a process, which the kernel tells of (`pidfd_open(2)`), at most `patience`. Returns whether it came.
fn ends(process: &OwnedFd, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref()) {
            Err(Errno::INTR) => {}
            ended => return ended.is_ok_and(|count| count > 0),
        }
    }
}

/// True when a process has this id (it may be a zombie or somebody else's).
pub fn pid_exists(number: u32) -> bool {
    pid(number).is_some_and(|pid| test_kill_process(pid).is_ok_and(|()| true))
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// When a running process started; `None` for one that is gone or a zombie.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    // `rest` starts at field 3, of which `state` was taken: 22 is the 19th after it.
    fields.nth(18)?.parse().ok()
}

/// The last lines of a text file, or why it cannot be read.
pub fn tail(path: &Path, lines: usize) -> String {
    match fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<_> = text.lines().collect();
            all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
        }
        Err(error) => format!("(cannot read {}: {error})", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::within;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(dir: &Path, script: &str) -> Command {
        Command::new("/bin/sh", dir.join("log")).args(["-c", script])
    }

    #[test]
    fn output_goes_to_the_log_and_into_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell(dir.path(), "echo one; echo two >&2; exit 3").named("teller").spawn().unwrap();
        assert_eq!(process.wait(SOON).unwrap().code(), Some(3));
        let error = process.check().unwrap_err().to_string();
        assert!(
            error.starts_with("teller ended with exit status: 3") && error.ends_with("one\ntwo"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn one_that_ignores_sigterm_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000";
        let mut process = shell(dir.path(), script).spawn().unwrap();
        let child = within(SOON, "the script starts", async || Ok(process.tail(1).parse().ok()))
            .await
            .unwrap();
        let child = ProcessId::of(child).unwrap();
        process.stop(Duration::from_millis(50)).unwrap();
        assert!(child.ends(SOON), "the child outlived its group");
    }

    #[tokio::test]
    async fn a_detached_process_is_found_again_and_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell(dir.path(), "sleep 1000").detached().spawn().unwrap();
        let id = process.id().unwrap();
        let kept: ProcessId = serde_json::from_str(&serde_json::to_string(&id).unwrap()).unwrap();
        assert!(kept.is_alive());
        assert!(
            !ProcessId {
                started: kept.started + 1,
                ..kept
            }
            .is_alive(),
            "another start is another process"
        );
        assert!(!kept.stands_still());
        kept.signal(Signal::STOP);
        within(SOON, "it stands still", async || Ok(kept.stands_still().then_some(())))
            .await
            .unwrap();
        kept.signal(Signal::CONT);
        kept.stop(SOON).unwrap();
        assert!(process.wait(SOON).is_some());
    }

    #[test]
    fn a_missing_program_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Command::new("/no/such/program", dir.path().join("log"))
            .spawn()
            .unwrap_err()
            .to_string();
        assert_eq!(error, "program: there is no program /no/such/program");
    }
}
