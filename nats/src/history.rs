//! What happened to one aggregate before? Its events in order, up to one of them.

use events::{Recorded, Subject};

use crate::log::{Log, LogError, read};
use crate::read::Wanted;

impl Log {
    /// The events of a subject before this sequence; `None` when there are more than `max`.
    pub async fn history(
        &self,
        subject: &Subject,
        before: u64,
        max: usize,
    ) -> Result<Option<Vec<Recorded>>, LogError> {
        let text = subject.to_string();
        let (mut past, mut next) = (Vec::new(), 1);
        loop {
            let wanted = Wanted::from(next, Some(&text));
            let batch = self.batch(&wanted).await.map_err(|error| LogError::Read(error.into()))?;
            for message in &batch.messages {
                let recorded = read(message, &text)?;
                if recorded.seq >= before {
                    return Ok(Some(past));
                }
                next = recorded.seq + 1;
                past.push(recorded);
                if past.len() > max {
                    return Ok(None);
                }
            }
            if batch.pending == 0 || batch.messages.is_empty() {
                return Ok(Some(past));
            }
        }
    }

    /// The event of a sequence; `None` when there is none.
    pub async fn event_at(&self, sequence: u64) -> Result<Option<Recorded>, LogError> {
        let wanted = Wanted { batch: 1, ..Wanted::from(sequence, None) };
        let batch = self.batch(&wanted).await.map_err(|error| LogError::Read(error.into()))?;
        let Some(message) = batch.messages.first() else { return Ok(None) };
        let headers = message.headers.as_ref();
        let subject = crate::wire::server_header(headers, "Nats-Subject").unwrap_or_default();
        Ok(Some(read(message, subject)?).filter(|recorded| recorded.seq == sequence))
    }
}
