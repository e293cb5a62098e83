//! Go itself: the pinned module of this checkout, and what is asked of `go`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

pub(super) const KUBERNETES_MODULE: &str = "k8s.io/kubernetes";
pub(super) const CNPG_MODULE: &str = "github.com/cloudnative-pg/cloudnative-pg";

/// The pinned Go module of this checkout.
pub(super) fn module_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("go")
}

/// The version of one module in the text of a `go.mod`.
pub(super) fn module_version<'a>(go_mod: &'a str, module: &str) -> Result<&'a str> {
    go_mod
        .lines()
        .filter_map(|line| line.trim().strip_prefix(module)?.strip_prefix(' '))
        .filter_map(|rest| rest.split_whitespace().next())
        .find(|word| word.starts_with('v'))
        .ok_or_else(|| anyhow!("go.mod does not require {module}"))
}

/// A `go` command in `module` that the caller's Go settings for other projects do not disturb.
pub(super) fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .stdin(Stdio::null());
    command
}

pub(super) fn go_missing(error: std::io::Error) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        anyhow!("the program `go` is not in PATH: install Go 1.26 or newer (https://go.dev/doc/install) and try again")
    } else {
        anyhow!(error).context("run go")
    }
}

pub(super) fn explain_go_failure(what: &str, output: &str) -> anyhow::Error {
    const NETWORK: &[&str] = &[
        "dial tcp",
        "no such host",
        "i/o timeout",
        "connection refused",
        "TLS handshake",
        "proxyconnect",
    ];
    if NETWORK.iter().any(|sign| output.contains(sign)) {
        return anyhow!(
            "{what} could not download modules: check the network and `go env GOPROXY`, then try again; what was \
             downloaded is kept.\n{output}"
        );
    }
    if output.contains("requires go >=") {
        return anyhow!("{what}: the installed Go is too old for the pinned modules: install a newer one.\n{output}");
    }
    anyhow!("{what} failed:\n{output}")
}

/// Where the source of a module of our build list lies, downloading it where it is missing.
pub(super) fn module_source(module: &Path, wanted: &str) -> Result<PathBuf> {
    let list = |module: &Path| -> Result<PathBuf> {
        let output = run_go(module, &["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", wanted])?;
        Ok(PathBuf::from(output.trim()))
    };
    let dir = list(module)?;
    if dir.is_dir() {
        return Ok(dir);
    }
    run_go(module, &["mod", "download", wanted])?;
    let dir = list(module)?;
    if !dir.is_dir() {
        bail!("go mod download {wanted} did not leave the module's source in the module cache");
    }
    Ok(dir)
}

fn run_go(module: &Path, arguments: &[&str]) -> Result<String> {
    let output = go(module).args(arguments).output().map_err(go_missing)?;
    if !output.status.success() {
        let what = format!("go {}", arguments.join(" "));
        return Err(explain_go_failure(&what, &String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).context("go printed something that is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_go_mod() {
        let text = "require (\n\tk8s.io/kubernetes v1.36.3\n\tk8s.io/kubernetes/extra v9.9.9 // indirect\n)\n";
        assert_eq!(module_version(text, "k8s.io/kubernetes").unwrap(), "v1.36.3");
        let error = module_version(text, "example.org/absent").unwrap_err().to_string();
        assert_eq!(error, "go.mod does not require example.org/absent");
    }

    #[test]
    fn network_failures_are_told_from_others() {
        let network = explain_go_failure("go build", "dial tcp: lookup proxy: no such host").to_string();
        assert!(network.contains("check the network"), "{network}");
        let other = explain_go_failure("go build", "undefined: x").to_string();
        assert_eq!(other, "go build failed:\nundefined: x");
    }
}
