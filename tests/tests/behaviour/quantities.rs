//! Our parser of quantities against the API server's own.

use csm_tests::Stage;
use csm_units::{Bytes, QuantityError};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

/// Whether the API server takes these as `request` and `limit` of a volume, and what it says if not: its rule compares
/// them exactly, with Kubernetes' own arithmetic.
async fn refusal(stage: &Stage, request: &str, limit: &Value) -> anyhow::Result<Option<String>> {
    let spec = json!({"storage": {"request": request, "limit": limit}});
    stage.refusal("StoragePolicy", &spec).await
}

const VALID: [&str; 48] = [
    "1",
    "01",
    "+1",
    "1.",
    ".5Gi",
    "0.5Gi",
    "1.5Gi",
    "1.25Gi",
    "0.1Gi",
    "1Ki",
    "1Mi",
    "1Gi",
    "1Ti",
    "1Pi",
    "1Ei",
    "7.9Ei",
    "1k",
    "1M",
    "1G",
    "1T",
    "1P",
    "1E",
    "9.2E",
    "1000m",
    "1500m",
    "1m",
    "1u",
    "1n",
    "0.1",
    "0.000000001",
    "1.000000001",
    "1e3",
    "1E3",
    "1e+3",
    "1e-3",
    "5e0",
    "1e18",
    "12.345e6",
    "100Gi",
    "107374182400",
    "1024Ki",
    "1.0000000001Gi",
    "0.0000001Ki",
    "3.14159265358979Ti",
    "999999999999999999",
    "9223372036854775807",
    "1048576",
    "16Mi",
];

const INVALID: [&str; 34] = [
    "", " ", "Gi", ".", "+", "-", "e3", "1 Gi", " 1Gi", "1Gi ", "1gi", "1GI", "1Gib", "1GB", "1K", "1KB", "1mi", "1B", "1b", "1,5Gi",
    "1_000", "0x10", "1..5", "1.5.5", "--1", "+-1", "1e", "1e1.5", "1ee3", "1Gi3", "ten", "١Gi", "1%", "NaN",
];

/// Quantities, but no sizes.
const NO_SIZE: [&str; 8] = ["0", "0Gi", "0.0", "-0", "-1", "-5Gi", "-1e3", "-0.1"];

#[tokio::test]
async fn what_kubernetes_reads_we_read_as_the_same_number_of_bytes() -> anyhow::Result<()> {
    let stage = Stage::new("quantities").await?;
    let stage = &stage;
    let each = stream::iter(VALID.map(Ok)).try_for_each_concurrent(8, |text| async move {
        let ours: Bytes = text.parse()?;
        // Not above what we read it as, and above one byte less: rounded up to whole bytes.
        let message = refusal(stage, text, &json!(ours.get().to_string())).await?;
        anyhow::ensure!(message.is_none(), "{text:?} is {ours} for us: {message:?}");
        if ours.get() > 1 {
            let message = refusal(stage, text, &json!((ours.get() - 1).to_string())).await?;
            let less = message.as_deref().is_some_and(|m| m.contains("request must not be above limit"));
            anyhow::ensure!(less, "{text:?} is less than {ours} for Kubernetes: {message:?}");
        }
        Ok::<_, anyhow::Error>(())
    });
    each.await
}

#[tokio::test]
async fn what_kubernetes_refuses_we_refuse() -> anyhow::Result<()> {
    let stage = Stage::new("noquantities").await?;
    let texts = INVALID.into_iter().chain(NO_SIZE);
    let refused = stream::iter(texts).map(|text| {
        let stage = &stage;
        async move {
            let message = refusal(stage, text, &json!("8Ei")).await?;
            Ok::<_, anyhow::Error>((text, message))
        }
    });
    for (text, message) in refused.buffer_unordered(8).try_collect::<Vec<_>>().await? {
        assert!(
            message.as_deref().is_some_and(|m| m.contains("is not a positive quantity")),
            "the API server takes {text:?}: {message:?}"
        );
        let ours: Result<Bytes, QuantityError> = text.parse();
        assert!(ours.as_ref().is_err() || ours.is_ok_and(Bytes::is_zero), "we take {text:?}");
    }
    // What Kubernetes takes beyond the largest number of bytes that it can count with, is an error of ours: the schema cannot
    // see it, and the manager holds (docs/adr/0003).
    for text in ["8Ei", "9223372036854775808", "1e19", "10E"] {
        let message = refusal(&stage, text, &json!(text)).await?;
        assert_eq!(message, None, "the API server takes {text:?}");
        assert!(matches!(text.parse::<Bytes>(), Err(QuantityError::TooLarge(_))), "{text}");
    }
    Ok(())
}
