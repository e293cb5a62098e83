//! B11: a person deletes the primary's pod while a growth is in flight.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;

use crate::course::Course;

/// CloudNativePG fails over, or (of one instance) makes the pod anew; the growth goes on, whoever is the primary now.
pub async fn primary_deleted(course: &mut Course) -> Result<()> {
    let flight = course.begin().await?;
    let orders = course.orders.clone();
    orders.replicated().await?;
    let primary = orders.primary().await?;
    let before = orders.pod_uid(&primary).await?;
    course.stage.api::<Pod>().delete(&primary, &DeleteParams::default()).await?;
    orders.pod_renewed(&primary, &before).await?;
    orders.healthy().await?;
    course.still_in_flight(&flight).await?;
    course.land(flight).await
}
