//! Does a position move for who knows it, and for nobody else?

use events::ids::SubscriptionId;
use nats::{Position, PositionsError};
use uuid::Uuid;

use crate::stand::*;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_move_a_position_one_does() {
    let server = server().await;
    let positions = user(&server, "api").await.positions();
    let (tenant, id) = (tenant(), SubscriptionId::from_seed(&Uuid::from_u128(1)));
    assert_eq!(positions.get(&tenant, &id).await.unwrap(), Position::default());
    let first = positions.put(&tenant, &id, "1".into(), 0).await.unwrap();
    assert!(matches!(positions.put(&tenant, &id, "2".into(), 0).await, Err(PositionsError::Lost)));
    let (one, other) = tokio::join!(
        positions.put(&tenant, &id, "one".into(), first),
        positions.put(&tenant, &id, "other".into(), first),
    );
    let (moved, value) = match (one, other) {
        (Ok(moved), Err(PositionsError::Lost)) => (moved, "one"),
        (Err(PositionsError::Lost), Ok(moved)) => (moved, "other"),
        both => panic!("{both:?}"),
    };
    let kept = positions.get(&tenant, &id).await.unwrap();
    assert_eq!(kept, Position { value: value.into(), revision: moved });
    let elsewhere = SubscriptionId::from_seed(&Uuid::from_u128(2));
    assert_eq!(positions.get(&tenant, &elsewhere).await.unwrap(), Position::default());
    assert!(user(&server, "projector").await.positions().get(&tenant, &id).await.is_err());
}
