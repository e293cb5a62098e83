//! `cargo xtask lab`: the real cluster that tests run on.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use csm_testkit::lab::layout::Layout;
use csm_testkit::lab::{self, Lab, diagnose};

/// The arguments of `cargo xtask lab`. The lab's folder is `$CSM_LAB_DIR`, by default one for the whole machine.
#[derive(Args)]
pub struct LabArgs {
    #[command(subcommand)]
    task: LabTask,
}

#[derive(Subcommand)]
enum LabTask {
    /// Brings the lab up, or adopts the one that runs. Needs root.
    Up {
        /// How many nodes. A running lab with fewer gets more.
        #[arg(long, env = "NODES", default_value_t = 1)]
        nodes: u8,
    },
    /// Takes the lab down: nothing of it is left on the machine but its logs.
    Down,
    /// Kills every process of the lab and cleans nothing up, to try what comes after a crash.
    Crash,
    /// One screen about the lab.
    Status,
    /// What is wrong with the lab; fails if something is.
    Diagnose {
        /// Writes objects, events and all logs into this folder too.
        #[arg(long)]
        collect: Option<PathBuf>,
    },
    /// Loads an image archive (of `docker save`) into every node.
    LoadImage {
        /// The archive.
        archive: PathBuf,
    },
    /// Makes an image of a program, with its shared libraries, and loads it into every node.
    LoadProgram {
        /// The program.
        program: PathBuf,
        /// The image's name, with a tag other than latest.
        reference: String,
    },
    /// Stops, starts or kills a component, for example `kubelet@lab-1`.
    Component {
        /// What to do.
        action: ComponentAction,
        /// Its name, as `status` shows it.
        name: String,
    },
    /// Runs kubectl on the lab.
    #[command(trailing_var_arg = true, disable_help_flag = true)]
    Kubectl {
        /// kubectl's arguments.
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum ComponentAction {
    Stop,
    Start,
    Kill,
}

pub async fn run(args: LabArgs) -> Result<ExitCode> {
    let layout = Layout::from_env()?;
    match args.task {
        LabTask::Up { nodes } => {
            let options = lab::Options {
                nodes,
                programs: Box::new(build_programs),
            };
            lab::up(&layout, options, |line| println!("{line}")).await?;
        }
        LabTask::Down => lab::down(&layout, |line| println!("{line}")).await?,
        LabTask::Crash => lab::clean::crash(&layout).await?,
        LabTask::Status => print!("{}", diagnose::screen(&layout).await?),
        LabTask::Diagnose { collect } => {
            let (text, healthy) = diagnose::report(&layout).await?;
            print!("{text}");
            if let Some(dir) = collect {
                Lab::connect().await?.collect_diagnostics(&dir).await?;
                println!("collected in {}", dir.display());
            }
            if !healthy {
                return Ok(ExitCode::FAILURE);
            }
        }
        LabTask::LoadImage { archive } => Lab::connect().await?.load_image(&archive).await?,
        LabTask::LoadProgram { program, reference } => Lab::connect().await?.load_own_image(&program, &reference).await?,
        LabTask::Component { action, name } => {
            let lab = Lab::connect().await?;
            match action {
                ComponentAction::Stop => lab.stop(&name).await?,
                ComponentAction::Start => lab.start(&name).await?,
                ComponentAction::Kill => lab.kill(&name).await?,
            }
        }
        LabTask::Kubectl { arguments } => {
            let lab = Lab::connect().await?;
            let (program, (name, value)) = lab.kubectl_program();
            // Replaces this process, so that signals and the terminal are kubectl's.
            let error = Command::new(program).args(arguments).env(name, value).exec();
            return Err(error).with_context(|| format!("start {}", program.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the lab's own programs, in the profile that this one was built in, and returns their folder.
fn build_programs() -> Result<PathBuf> {
    let this = std::env::current_exe().context("find this program")?;
    let folder = this.parent().context("this program has no folder")?.to_owned();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--package", "csm-testkit"]);
    command.args(lab::PROGRAMS.iter().flat_map(|name| ["--bin", name]));
    if folder.ends_with("release") {
        command.arg("--release");
    }
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let status = command.status().context("start cargo")?;
    if !status.success() {
        bail!("the lab's programs could not be built");
    }
    Ok(folder)
}
