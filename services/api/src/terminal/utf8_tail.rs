//! How do bytes become text when a character may be cut in two? Its beginning waits for the rest.

/// At most three bytes of a character that is not whole yet.
#[derive(Debug, Default)]
pub struct Utf8Tail(Vec<u8>);

impl Utf8Tail {
    /// The text of what waited and of `bytes`, as far as its characters are whole. What is no UTF-8 becomes
    /// U+FFFD, as in every terminal.
    pub fn text(&mut self, bytes: &[u8]) -> String {
        let mut waiting = std::mem::take(&mut self.0);
        waiting.extend_from_slice(bytes);
        let mut text = String::with_capacity(waiting.len());
        let mut rest = waiting.as_slice();
        while !rest.is_empty() {
            let error = match std::str::from_utf8(rest) {
                Ok(whole) => {
                    text.push_str(whole);
                    break;
                }
                Err(error) => error,
            };
            let (whole, broken) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(whole));
            let Some(length) = error.error_len() else {
                self.0 = broken.to_vec();
                break;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = broken.get(length..).unwrap_or_default();
        }
        text
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing more comes: what waits was no character.
    pub fn end(&mut self) -> Option<String> {
        let waited = !std::mem::take(&mut self.0).is_empty();
        waited.then(|| char::REPLACEMENT_CHARACTER.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cut_anywhere_arrives_whole() {
        let said = "日志文件 🚢 déjà";
        for cut in 0..=said.len() {
            let mut tail = Utf8Tail::default();
            let (one, two) = said.as_bytes().split_at(cut);
            let text = tail.text(one) + &tail.text(two);
            assert_eq!((text.as_str(), tail.end()), (said, None), "cut at {cut}");
        }
        let mut tail = Utf8Tail::default();
        let text: String = said.as_bytes().iter().map(|byte| tail.text(&[*byte])).collect();
        assert_eq!(text, said);
    }

    #[test]
    fn what_is_no_text_is_marked_and_holds_nothing_up() {
        let mut tail = Utf8Tail::default();
        assert_eq!(tail.text(b"a\xffb\xc3("), "a\u{fffd}b\u{fffd}(");
        assert_eq!((tail.text(b"\xe6\x97"), tail.len()), (String::new(), 2));
        assert_eq!(tail.end(), Some("\u{fffd}".to_owned()));
        assert_eq!(tail.end(), None);
    }
}
