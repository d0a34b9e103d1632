//! As much of HTTP/1.1 as a Runtime API and a destination need, read by hand: a framework's tasks and timers would run beside what
//! is measured, on the same few cores.

use std::io::{self, BufRead, Read, Write};

/// A request as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The request line, as in `GET /path HTTP/1.1`.
    pub(crate) line: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// How the body's end is found.
#[derive(Debug, Default)]
struct Framing {
    length: usize,
    is_chunked: bool,
    /// Clients that send much wait for a word first.
    is_expecting: bool,
}

/// Reads one request; `None` where the client has hung up. The connection is written to only where the client wants to hear
/// `100 Continue`.
pub(crate) fn read(reader: &mut impl BufRead, writer: &mut impl Write) -> io::Result<Option<Request>> {
    let Some(line) = read_line(reader)? else { return Ok(None) };
    let framing = read_headers(reader)?;
    if framing.is_expecting {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body = if framing.is_chunked { read_chunks(reader)? } else { read_exactly(reader, framing.length)? };
    Ok(Some(Request { line, body }))
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    let read = reader.read_line(&mut line)?;
    line.truncate(line.trim_end().len());
    Ok((read > 0).then_some(line))
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<Framing> {
    let mut framing = Framing::default();
    while let Some(line) = read_line(reader)?.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or_default();
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("content-length") {
            framing.length = value.trim().parse().map_err(io::Error::other)?;
        } else if is("transfer-encoding") {
            framing.is_chunked = value.to_ascii_lowercase().contains("chunked");
        } else if is("expect") {
            framing.is_expecting = true;
        }
    }
    Ok(framing)
}

fn read_exactly(reader: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = read_line(reader)?.unwrap_or_default();
        let digits = size.split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(digits.trim(), 16).map_err(io::Error::other)?;
        body.extend(read_exactly(reader, length)?);
        // Each chunk ends with an empty line, and so does the last, which has no bytes.
        read_line(reader)?;
        if length == 0 {
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, body: &str) {
        let mut answer = Vec::new();
        let request = read(&mut text.as_bytes(), &mut answer).unwrap().unwrap();
        assert_eq!(request, Request { line: "POST /x HTTP/1.1".to_owned(), body: body.into() });
    }

    #[test]
    fn both_framings_are_read() {
        check("POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "hello");
        check("POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "hello");
        check("POST /x HTTP/1.1\r\n\r\n", "");
    }

    #[test]
    fn who_expects_a_word_gets_it() {
        let mut answer = Vec::new();
        let text = "POST /x HTTP/1.1\r\nExpect: 100-continue\r\ncontent-length: 1\r\n\r\na";
        assert!(read(&mut text.as_bytes(), &mut answer).unwrap().is_some());
        assert!(answer.starts_with(b"HTTP/1.1 100"));
    }

    #[test]
    fn a_connection_that_ends_is_no_error() {
        assert_eq!(read(&mut b"".as_slice(), &mut Vec::new()).unwrap(), None);
    }
}
