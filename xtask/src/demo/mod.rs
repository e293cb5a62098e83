//! `cargo xtask demo`: the main job in one terminal. A real API server with CloudNativePG's CRDs and ours, the real
//! manager with the permissions that it ships with, and clusters whose kubelets and disks are simulated.
//!
//! [`story`] says who appears and what is to happen. [`stage`] and [`manager`] run it, [`observe`] looks at it; a
//! [`scene`] is what was seen. The rest is pure: [`screen`], [`plot`] and [`summary`] draw, [`timeline`] tells what came
//! when, [`verdict`] judges.

mod interrupt;
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
use self::stage::Stage;
use self::story::{Cue, Story};
use self::terminal::Terminal;
use self::text::{Line, Tone};

/// How often the world is looked at: the error of every time that is not in the audit log.
const LOOK: Duration = Duration::from_millis(200);
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
        "starting etcd, kube-apiserver, the simulated nodes, three clusters, the manager …",
    );
    let mut stage = Stage::set(&binary).await?;
    let shown = show(&mut stage, &mut terminal, &mut interrupt).await;
    terminal.end_drawing();
    if let Some(status) = interrupt.status() {
        say(&mut terminal, "interrupted; everything that was started is ended");
        return Ok(ExitCode::from(status));
    }
    let scenes = shown.with_context(|| format!("the end of the manager's log:\n{}\n", stage.manager_log()))?;
    let writes = stage.end().await?;
    let checks = verdict::checks(&scenes, &writes);
    terminal.print(&summary::draw_summary(&scenes, &writes, &checks, terminal.size().0));
    let kept = checks.iter().all(|check| check.kept);
    let took = start.elapsed().as_secs();
    if kept {
        terminal.print(&[Line::of(Tone::Good, format!("The demo showed all that it promises, in {took} s."))]);
        return Ok(ExitCode::SUCCESS);
    }
    terminal.print(&[Line::of(
        Tone::Bad,
        format!("The demo FAILED after {took} s. The end of the manager's log:"),
    )]);
    terminal.print(&[Line::of(Tone::Plain, stage.manager_log())]);
    Ok(ExitCode::FAILURE)
}

/// Plays the story to its end, or to an interrupt, and returns all that was seen.
async fn show(stage: &mut Stage, terminal: &mut Terminal, interrupt: &mut Interrupt) -> Result<Vec<Scene>> {
    let start = Timestamp::now();
    let mut story = Story::begin(start);
    let mut scenes: Vec<Scene> = Vec::new();
    let mut news: Vec<News> = Vec::new();
    let mut status_due = Instant::now();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let scene = tokio::select! {
            () = interrupt.wait() => return Ok(scenes),
            scene = async { looks.tick().await; stage.look().await } => scene?,
        };
        let latest = scene::news(scenes.last(), &scene);
        if terminal.is_live() {
            news.extend(latest);
            terminal.draw(&screen::draw(&scene, &news, start, terminal.size()));
        } else {
            let columns = terminal.size().0;
            terminal.print(
                &latest
                    .iter()
                    .flat_map(|item| screen::news_lines(item, start, columns))
                    .collect::<Vec<_>>(),
            );
            if status_due <= Instant::now() {
                terminal.print(&[screen::status_line(&scene, start)]);
                status_due = Instant::now() + STATUS;
            }
        }
        let cue = story.next(&scene);
        scenes.push(scene);
        match cue.map_err(|stalled| anyhow!(stalled))? {
            None => {}
            Some(Cue::Fill) => stage.fill()?,
            Some(Cue::End) => return Ok(scenes),
        }
    }
}

fn say(terminal: &mut Terminal, text: &str) {
    terminal.print(&[Line::of(Tone::Faint, text)]);
}
