//! Are recordings what was kept of them: in order, sealed, and in their place?

use events::ids::SessionId;
use nats::recordings::CHUNK_BYTES_MAX;
use nats::{MasterKeys, RecordingError, RecordingId, Recordings};
use uuid::Uuid;

use crate::stand::*;

fn recording(session: u128, number: u32) -> RecordingId {
    RecordingId { tenant: tenant(), session: SessionId::from_seed(&Uuid::from_u128(session)), number }
}

async fn keep(recordings: &Recordings, id: &RecordingId, chunk: u32, text: &[u8]) {
    recordings.keep(&recordings.seal(id, chunk, text).unwrap()).await.unwrap();
}

async fn all(recordings: &Recordings, id: &RecordingId) -> Result<Vec<Vec<u8>>, RecordingError> {
    let mut reading = recordings.read(id);
    let mut chunks = Vec::new();
    while let Some(chunk) = reading.next().await? {
        chunks.push(chunk.to_vec());
    }
    Ok(chunks)
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_come_back_in_order_and_each_recording_by_itself() {
    let server = server().await;
    let (keys, _) = MasterKeys::generate().unwrap();
    let gateway = user(&server, "gateway").await.recordings(keys.clone());
    let api = user(&server, "api").await.recordings(keys);
    let (mine, other) = (recording(1, 1), recording(1, 2));
    // more than one batch of 8 MiB
    let text = |chunk: u32| vec![u8::try_from(chunk % 251).unwrap(); CHUNK_BYTES_MAX];
    for chunk in 1..=40 {
        keep(&gateway, &mine, chunk, &text(chunk)).await;
        if chunk % 10 == 0 {
            keep(&api, &other, chunk / 10, b"other").await;
        }
    }
    let read = all(&api, &mine).await.unwrap();
    assert_eq!(read.len(), 40);
    assert!((1..).zip(&read).all(|(chunk, read)| *read == text(chunk)));
    assert_eq!(all(&api, &other).await.unwrap(), vec![b"other".to_vec(); 4]);
    assert!(all(&api, &recording(2, 1)).await.unwrap().is_empty());
    assert!(matches!(api.seal(&mine, 1, &[0; CHUNK_BYTES_MAX + 1]), Err(RecordingError::TooLong)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_chunk_counts_once_and_one_out_of_place_is_noticed() {
    let server = server().await;
    let (keys, _) = MasterKeys::generate().unwrap();
    let api = user(&server, "api").await.recordings(keys.clone());
    let (mine, theirs) = (recording(1, 1), recording(2, 1));
    let first = api.seal(&mine, 1, b"first").unwrap();
    api.keep(&first).await.unwrap();
    api.keep(&first).await.unwrap();
    let raw = raw(&server, "api").await;
    let stored = async |id: &RecordingId, sequence: u64| {
        let subject = format!("rec.{}.{}.{}", id.tenant, id.session, id.number);
        let request = serde_json::json!({"seq": sequence, "next_by_subj": subject}).to_string();
        let answer = raw.request("LOG.API.DIRECT.GET.RECORDINGS", request.into()).await.unwrap();
        (subject, answer.payload)
    };
    // as after the server's window for duplicates: no message id keeps it out
    let (subject, sealed) = stored(&mine, 1).await;
    assert!(!sealed.windows(5).any(|part| part == b"first"), "what was shown lies sealed");
    raw.request(subject, sealed.clone()).await.unwrap();
    keep(&api, &mine, 2, b"second").await;
    assert_eq!(all(&api, &mine).await.unwrap(), [b"first".to_vec(), b"second".to_vec()]);
    // another recording's chunk, a chunk that was left out, and nonsense
    raw.request(format!("rec.{}.{}.1", theirs.tenant, theirs.session), sealed).await.unwrap();
    assert!(matches!(all(&api, &theirs).await, Err(RecordingError::Damaged { chunk: 1 })));
    keep(&api, &mine, 4, b"fourth").await;
    assert!(matches!(all(&api, &mine).await, Err(RecordingError::Damaged { chunk: 3 })));
    let (other, _) = MasterKeys::generate().unwrap();
    let stranger = user(&server, "api").await.recordings(other);
    assert!(matches!(all(&stranger, &mine).await, Err(RecordingError::KeyUnknown { chunk: 1, .. })));
}
