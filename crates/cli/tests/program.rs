//! The program itself: exit status and where it says what.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubectl-cnpg-storage"))
        .args(arguments)
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env_remove("CNPG_STORAGE_MANAGER_LEASE_NAME")
        .output()
        .expect("the program starts")
}

fn kubeconfig(server: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "here",
        "contexts": [{{"name": "here", "context": {{"cluster": "c", "user": "u", "namespace": "shop"}}}}],
        "clusters": [{{"name": "c", "cluster": {{"server": "{server}"}}}}], "users": [{{"name": "u", "user": {{}}}}]}}"#
    )
}

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    for wrong in [&["status", "orders", "-A"][..], &["explain"], &["status", "-o", "xml"], &[]] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{wrong:?}");
    }
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("3  with --check: something needs a person"));
}

#[test]
fn errors_are_1_and_say_what_to_do() {
    let missing = run(&["status", "--kubeconfig", "/nowhere/config"]);
    assert_eq!(missing.status.code(), Some(1));
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(
        said.starts_with("error: cannot use the kubeconfig /nowhere/config; give --kubeconfig FILE"),
        "{said}"
    );

    // A port that was free a moment ago: nobody answers there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port")
        .port();
    let server = format!("http://127.0.0.1:{port}");
    let file = std::env::temp_dir().join(format!("kubectl-cnpg-storage-{}.json", std::process::id()));
    std::fs::write(&file, kubeconfig(&server)).expect("a kubeconfig");
    let path = file.to_string_lossy().into_owned();
    let away = run(&["status", "--kubeconfig", &path]);
    let other = run(&["status", "--kubeconfig", &path, "--context", "there"]);
    std::fs::remove_file(&file).expect("it is ours");
    assert_eq!(away.status.code(), Some(1));
    let said = String::from_utf8_lossy(&away.stderr);
    assert!(said.contains(&format!("cannot reach the API server at {server}")), "{said}");
    assert!(said.contains("--context"), "{said}");
    assert_eq!(other.status.code(), Some(1));
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(said.contains("there") && said.contains("--context NAME"), "{said}");
}
