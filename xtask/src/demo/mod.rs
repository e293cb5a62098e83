//! `cargo xtask demo`: the main job in one terminal. A real API server with CloudNativePG's CRDs and ours, the real
//! manager with the permissions that it ships with, and clusters whose kubelets and disks are simulated.
//!
//! [`story`] says who appears and what is to happen. [`stage`] and [`manager`] run it, [`observe`] looks at it; a
//! [`scene`] is what was seen. The rest is pure: [`screen`], [`plot`] and [`summary`] draw, [`timeline`] tells what came
//! when, [`verdict`] judges.

mod interrupt;
pub mod lab;
mod manager;
mod observe;
mod plot;
#[cfg(test)]
mod sample;
mod scene;
mod screen;
mod stage;
mod story;
mod summary;
mod terminal;
mod text;
mod timeline;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use csm_testkit::tools::{self, Set};
use jiff::Timestamp;
use tokio::time::MissedTickBehavior;

use self::interrupt::Interrupt;
use self::scene::{News, Scene};
use self::stage::Simulated;
use self::story::{Cue, Play, SIMULATED, Story};
use self::terminal::Terminal;
use self::text::{Line, Tone};
use self::timeline::Write;

/// How often a line about all clusters is written where nothing can be drawn.
const STATUS: Duration = Duration::from_secs(5);

/// The arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct DemoArgs {
    /// Uses this manager instead of building one.
    #[arg(long, value_name = "FILE")]
    manager: Option<PathBuf>,
}

/// Runs it. The exit status says whether everything was seen that the demo is to show.
pub async fn run(args: DemoArgs) -> Result<ExitCode> {
    let mut terminal = Terminal::detect();
    say(&mut terminal, "building what is missing of etcd, kube-apiserver and the manager …");
    let build = move || {
        tools::ensure(Set::Light, &mut |line| eprintln!("  {line}"))?;
        args.manager.map_or_else(manager::build, Ok)
    };
    let binary = tokio::task::spawn_blocking(build).await.context("the build was given up")??;
    // Not before the builds are over: until then, Ctrl-C ends them and this program as it ends any other.
    let mut interrupt = Interrupt::catch()?;
    let start = Instant::now();
    say(
        &mut terminal,
        "starting etcd, kube-apiserver, simulated nodes, three clusters, the manager …",
    );
    let stage = Simulated::set(&binary).await?;
    perform(&SIMULATED, stage, &mut terminal, &mut interrupt, start).await
}

/// Where a play is performed.
trait Stage {
    /// What there is to see now; an error if something has died.
    async fn look(&mut self) -> Result<Scene>;
    /// Lets the volumes fill, each at its cluster's rate.
    async fn fill(&mut self) -> Result<()>;
    /// Ends the manager and returns what it wrote.
    async fn end(&mut self) -> Result<Vec<Write>>;
    /// The end of the manager's log.
    async fn manager_log(&self) -> String;
    /// Leaves nothing behind.
    async fn close(self) -> Result<()>;
}

/// Shows a play on a stage that is set, says what was seen, and clears the stage, however it went.
async fn perform(
    play: &'static Play,
    mut stage: impl Stage,
    terminal: &mut Terminal,
    interrupt: &mut Interrupt,
    start: Instant,
) -> Result<ExitCode> {
    let outcome = show(play, &mut stage, terminal, interrupt).await;
    terminal.end_drawing();
    let outcome = match (interrupt.status(), outcome) {
        (Some(status), _) => {
            say(terminal, "interrupted; everything that was started is ended");
            Ok(ExitCode::from(status))
        }
        (None, Err(error)) => Err(error.context(format!("the end of the manager's log:\n{}\n", stage.manager_log().await))),
        (None, Ok(scenes)) => conclude(play, &mut stage, terminal, &scenes, start).await,
    };
    stage.close().await?;
    outcome
}

/// Says what was seen, and whether that is what the play promises.
async fn conclude(play: &Play, stage: &mut impl Stage, terminal: &mut Terminal, scenes: &[Scene], start: Instant) -> Result<ExitCode> {
    let writes = stage.end().await?;
    let checks = verdict::checks(play, scenes, &writes);
    terminal.print(&summary::draw_summary(play, scenes, &writes, &checks, terminal.size().0));
    let took = start.elapsed().as_secs();
    if checks.iter().all(|check| check.kept) {
        terminal.print(&[Line::of(Tone::Good, format!("The demo showed all that it promises, in {took} s."))]);
        return Ok(ExitCode::SUCCESS);
    }
    terminal.print(&[Line::of(
        Tone::Bad,
        format!("The demo FAILED after {took} s. The end of the manager's log:"),
    )]);
    terminal.print(&[Line::of(Tone::Plain, stage.manager_log().await)]);
    Ok(ExitCode::FAILURE)
}

/// Plays the story to its end, or to an interrupt, and returns all that was seen.
async fn show(play: &'static Play, stage: &mut impl Stage, terminal: &mut Terminal, interrupt: &mut Interrupt) -> Result<Vec<Scene>> {
    let start = Timestamp::now();
    let mut story = Story::begin(play, start);
    let mut scenes: Vec<Scene> = Vec::new();
    let mut news: Vec<News> = Vec::new();
    let mut status_due = Instant::now();
    let mut looks = tokio::time::interval(play.look);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let scene = tokio::select! {
            () = interrupt.wait() => return Ok(scenes),
            scene = async { looks.tick().await; stage.look().await } => scene?,
        };
        let latest = scene::news(scenes.last(), &scene);
        if terminal.is_live() {
            news.extend(latest);
            terminal.draw(&screen::draw(play, &scene, &news, start, terminal.size()));
        } else {
            let columns = terminal.size().0;
            terminal.print(
                &latest
                    .iter()
                    .flat_map(|item| screen::news_lines(item, start, columns))
                    .collect::<Vec<_>>(),
            );
            if status_due <= Instant::now() {
                terminal.print(&screen::status_lines(&scene, start, columns));
                status_due = Instant::now() + STATUS;
            }
        }
        let cue = story.next(&scene);
        scenes.push(scene);
        match cue.map_err(|stalled| anyhow!(stalled))? {
            None => {}
            Some(Cue::Fill) => stage.fill().await?,
            Some(Cue::End) => return Ok(scenes),
        }
    }
}

fn say(terminal: &mut Terminal, text: &str) {
    terminal.print(&[Line::of(Tone::Faint, text)]);
}
