//! Where does a line of a log end, when it comes in pieces? Bounded: too long a line is cut.

use crate::sshd_log::LINE_BYTES_MAX;

#[derive(Default)]
pub struct LogLines {
    partial: Vec<u8>,
}

impl LogLines {
    /// The lines that are complete with these bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.partial);
                lines.push(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines() {
        let mut lines = LogLines::default();
        assert!(lines.take(b"Accepted pass").is_empty());
        assert_eq!(lines.take(b"word\r\nnext\nla"), ["Accepted password", "next"]);
        assert!(lines.take(&vec![b'x'; 3 * LINE_BYTES_MAX]).is_empty());
        assert_eq!(lines.take(b"tail\n")[0].len(), LINE_BYTES_MAX);
    }
}
