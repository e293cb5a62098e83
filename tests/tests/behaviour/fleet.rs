//! What may be grown at one time in a storage class.

use csm_api::{Phase, Reason};
use csm_testkit::resizer::ResizeFault;
use csm_tests::cli::Cli;
use csm_tests::manager::Manager;
use csm_tests::{Stage, phase, up_to};
use csm_units::Bytes;

#[tokio::test]
async fn a_storage_class_has_a_limit_of_its_own() -> anyhow::Result<()> {
    const CLASS: &str = "one-at-a-time";
    let stage = Stage::new("classlimit").await?;
    stage.sim.storage_class(CLASS, true, false).await?;
    stage.policy("default", up_to("100Gi")).await?;
    let of = |name: &str| stage.sim.cluster(&stage.namespace, name).data("10Gi").data_used(0.87);
    let first = of("first").storage_class(CLASS).create().await?;
    first.data("first-1").resize_fault(ResizeFault::HangController);
    let settings = tempfile::NamedTempFile::new()?;
    std::fs::write(
        settings.path(),
        format!("fleet: {{concurrentResizes: 5}}\nstorageClasses: {{{CLASS}: {{concurrentResizes: 1}}}}\n"),
    )?;
    let settings = settings.path().to_string_lossy();
    let _manager = Manager::start(&stage.sim, &[&stage.namespace], &["--config", &settings]).await?;
    stage.event("first", "under way", |e| phase(e) == Some(Phase::InProgress)).await?;

    let second = of("second").storage_class(CLASS).create().await?;
    of("other").create().await?;
    stage
        .event("other", "one of another class has grown meanwhile", |e| {
            phase(e) == Some(Phase::Completed)
        })
        .await?;
    let data = stage
        .data_status("second", "waits", |d| d.last_decision.reason == Reason::FleetLimit)
        .await?;
    let sentence = format!(
        "1 resize is under way in the storage class {CLASS}, and there may be 1 at a time (storageClasses.{CLASS}.concurrentResizes of the manager); it goes on when one ends"
    );
    assert!(data.last_decision.message.contains(&sentence), "{}", data.last_decision.message);
    let kubeconfig = stage.sim.plane().user_kubeconfig("admin", &["system:masters"])?;
    let cli = Cli::new(&kubeconfig, &stage.namespace);
    let (text, _) = cli.ends(0, &["explain", "second"])?;
    // Long lines are broken.
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&sentence), "{text}");
    assert!(stage.events("second").await?.is_empty(), "nothing is begun");
    assert_eq!(second.data("second-1").request().await?, Bytes::gib(10));

    first.data("first-1").resize_fault(ResizeFault::None);
    let ends = |e: &csm_api::Growth| phase(e) == Some(Phase::Completed);
    let ended = stage.event("first", "grown", ends).await?.status.and_then(|s| s.completion_time);
    let begun = stage.event("second", "grown after it", ends).await?.metadata.creation_timestamp;
    assert!(
        ended
            .as_ref()
            .zip(begun.as_ref())
            .is_some_and(|(ended, begun)| ended.0.as_second() <= begun.0.as_second()),
        "one after the other: {ended:?}, {begun:?}"
    );
    Ok(())
}
