//! Traces in all their forms, and broken ones.

use serde_json::{Value, json};

use super::common::Folder;
use super::{POLICY, SCENARIO};

const START: u64 = 1_772_366_400;

/// The one volume of an answer, without what is said of the input.
fn volume(answer: &(Option<i32>, String, String)) -> Value {
    assert_eq!(answer.0, Some(0), "{}", answer.2);
    let data: Value = serde_json::from_str(&answer.1).expect("JSON");
    data["volumes"][0].clone()
}

#[test]
fn all_forms_come_to_the_same() {
    let folder = Folder::new();
    folder.file("policy.yaml", POLICY);
    let points: Vec<(u64, u64)> = (0..200).map(|i| (START + i * 60, (7000 + i * 20) << 20)).collect();
    let csv = |header: &str, middle: &str| {
        points
            .iter()
            .fold(header.to_owned(), |all, (at, used)| all + &format!("\n{at}{middle},{used}"))
    };
    let values = |points: &[(u64, u64)]| points.iter().map(|(at, used)| json!([at, used.to_string()])).collect::<Vec<_>>();
    let kubelet = |pvc: &str, node: &str| json!({"__name__": "kubelet_volume_stats_used_bytes", "namespace": "shop", "persistentvolumeclaim": pvc, "node": node});
    let ours = json!({"cluster": "example", "exported_namespace": "shop", "namespace": "monitoring", "volume_type": "data", "exported_instance": "example-1", "instance": "10.0.0.1:9187"});
    let answer = |result: Value| json!({"status": "success", "data": {"resultType": "matrix", "result": result}}).to_string();
    let dated = points.iter().fold("used,time".to_owned(), |all, (at, used)| {
        let time = jiff::Timestamp::from_second(i64::try_from(*at).expect("a time")).expect("a time");
        all + &format!("\r\n{}Ki,\"{time}\"", used >> 10)
    });
    let forms = [
        csv("time,used", ""),
        csv("\u{feff}time,cluster,volume,used", ",shop/example,data"),
        csv("timestamp,namespace,cluster,instance,used", ",shop,example,example-1"),
        csv("time,namespace,pvc,used", ",shop,example-1"),
        dated,
        answer(json!([{"metric": kubelet("example-1", "a"), "values": values(&points)}])),
        answer(json!([{"metric": ours, "values": values(&points)}])),
        // The pod moved to another node; and other PVCs are there, too.
        answer(json!([
            {"metric": kubelet("example-1", "b"), "values": values(&points[90..])},
            {"metric": kubelet("grafana", "a"), "values": values(&points)},
            {"metric": kubelet("example-1", "a"), "values": values(&points[..90])},
        ])),
    ];
    let mut first = None;
    for (i, form) in forms.iter().enumerate() {
        folder.file("trace", form);
        let line = "simulate -f policy.yaml --size 10Gi --instances 1 -o json --trace";
        let volumes = [folder.run(&format!("{line} trace"), ""), folder.run(&format!("{line} -"), form)].map(|answer| {
            let mut volume = volume(&answer);
            assert_eq!(answer.2.contains("left out: 1 (PVC shop/grafana)"), i == 7, "{}", answer.2);
            assert_eq!(
                (volume["namespace"].take(), volume["cluster"].take()),
                (json!("shop"), json!("example"))
            );
            volume
        });
        let expected = first.get_or_insert_with(|| volumes[0].clone());
        assert!(volumes.iter().all(|v| v == expected), "form {i}: {volumes:#?}");
        assert_eq!(expected["actions"], 1);
    }
}

#[test]
fn broken_traces_leave_nothing_half_printed() {
    let folder = Folder::new();
    folder.file("policy.yaml", POLICY);
    folder.file("scenario.yaml", SCENARIO);
    let head = "time,cluster,volume,used\n2026-03-01T12:00:00Z,orders,data,8Gi\n";
    let broken = [
        (String::new(), "1:1: the trace is empty; it begins with a line time,used"),
        (
            "8Gi\n".to_owned(),
            "1:1: unknown column \"8gi\"; the first line names the columns: time,used",
        ),
        ("time,size\n".to_owned(), "1:6: unknown column \"size\""),
        ("time,cluster\n".to_owned(), "1:1: the first line names the columns"),
        ("time,used,used\n".to_owned(), "1:11: column used is there twice"),
        ("time,used\n".to_owned(), "1:1: the trace has no samples"),
        (
            format!("{head}2026-03-01T12:01:00Z,orders,data\n"),
            "3:1: the line has 3 fields, and 4 are named in line 1",
        ),
        (
            format!("{head}yesterday,orders,data,8Gi\n"),
            "3:1: \"yesterday\" is no time; write it as 2026-03-01T12:00:00Z, or in seconds since 1970",
        ),
        (
            format!("{head}1772366460000,orders,data,8Gi\n"),
            "3:1: 1772366460000 seconds since 1970 are no time; are these milliseconds?",
        ),
        (
            format!("{head}1772366460,orders,data,8GB\n"),
            "3:24: \"8GB\" has an unknown unit; use Ki, Mi, Gi",
        ),
        (
            format!("{head}1772366460,orders,data,-1\n"),
            "3:24: \"-1\" is negative; write a positive quantity such as \"10Gi\"",
        ),
        (
            format!("{head}1772366460,orders,data,\n"),
            "3:24: the bytes used are missing; write them as 8600Mi",
        ),
        (
            format!("{head}1772366460,orders,logs,8Gi\n"),
            "3:19: \"logs\" names no volume; write data, wal or tablespace/NAME",
        ),
        (
            format!("{head}1772366399,orders,data,8Gi\n"),
            "3:1: 2026-03-01T11:59:59Z is before 2026-03-01T12:00:00Z of line 2, in the samples of orders data; sort the trace by time",
        ),
        (
            format!("{head}1772366460,odrers,data,8Gi\n"),
            "3:1: the trace has samples of odrers data, and the files have no such Cluster; they have elsewhere/returns, shop/orders",
        ),
        (
            format!("{head}1772366460,orders,tablespace/x,8Gi\n"),
            "3:1: shop/orders has no volume tablespace/x; it has data, wal",
        ),
        (
            "time,cluster,instance,used\n0,orders,orders-3,1\n".to_owned(),
            "2:1: shop/orders has no instance orders-3; it has orders-1, orders-2",
        ),
        (
            "time,pvc,used\n0,grafana,1\n".to_owned(),
            "no series of the trace is of a volume of elsewhere/returns, shop/orders; it has PVC grafana",
        ),
        ("{\"status\": \"error\"}".to_owned(), "the query failed (status \"error\")"),
        ("{}".to_owned(), "no Prometheus' answer to a range query"),
        ("[1]".to_owned(), "expected Prometheus' answer to a range query"),
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#.to_owned(),
            "the answer is a vector; ask /api/v1/query_range",
        ),
        (
            r#"{"data":{"result":[{"metric":{"job":"x"},"values":[]}]}}"#.to_owned(),
            "a series says of no PVC and no volume ({job=\"x\"})",
        ),
        (
            r#"{"data":{"result":[{"metric":{"pvc":"orders-1"},"values":[[2,"1"],[1,"1"]]}]}}"#.to_owned(),
            "1970-01-01T00:00:01Z is before 1970-01-01T00:00:02Z, in the samples of PVC orders-1",
        ),
        (
            r#"{"data":{"result":[{"metric":{"pvc":"orders-1"},"values":[[2,"+Inf"]]}]}}"#.to_owned(),
            "\"+Inf\" is not a quantity",
        ),
        (
            r#"{"data":{"result":[{"metric":{"pvc":"orders-1"},"values":[[2,"1"]"#.to_owned(),
            "1:",
        ),
    ];
    for (trace, says) in broken {
        folder.file("trace", &trace);
        for form in ["table", "json"] {
            let line = format!("simulate -f policy.yaml scenario.yaml --svg plot.svg -o {form} --trace trace");
            let (status, text, said) = folder.run(&line, "");
            assert_eq!((status, text.as_str()), (Some(2), ""), "{trace}\n{said}");
            assert!(said.starts_with("error: trace:") && said.contains(says), "{trace}\n{said}");
            assert!(!std::path::Path::new("plot.svg").exists());
        }
    }
}

#[test]
fn one_moment_twice_and_what_is_missing() {
    let folder = Folder::new();
    folder.file("policy.yaml", POLICY);
    folder.file("trace.csv", "time,used\n0,1Gi\n60,9Gi\n60,2Gi\n120,2Gi\n");
    let line = "simulate -f policy.yaml --size 10Gi --instances 1 -o json --trace";
    let answer = folder.run(&format!("{line} trace.csv"), "");
    assert_eq!(volume(&answer)["log"][0]["percentUsed"], 90, "the larger counts");
    assert!(answer.2.contains("the same moment as the one before: 1;"), "{}", answer.2);
    let nan = r#"{"data":{"result":[{"metric":{"pvc":"orders-1"},"values":[[0,"1"],[60,"NaN"],[120.5,"9e9"]]}]}}"#;
    let answer = folder.run(&format!("{line} -"), nan);
    assert_eq!(volume(&answer)["peakUsed"], 9_000_000_000_u64);
    assert!(answer.2.contains("taken as missing: 1"), "{}", answer.2);
}
