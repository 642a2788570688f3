//! How many bytes went each way over a connection, and has the peer acknowledged them all?

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

/// Bytes of application data; the kernel counts a FIN as one more, which is taken off again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the client.
    pub bytes_in: u64,
    /// To the client, as far as it has acknowledged them.
    pub bytes_out: u64,
    /// Nothing is on its way any more, or nothing ever will be.
    pub settled: bool,
}

// offsets in `struct tcp_info` of linux/tcp.h, which only ever grows at its end
const STATE: usize = 0;
const UNACKED: usize = 24;
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
const NOTSENT_BYTES: usize = 144;
const KNOWN_BYTES: usize = 148;

const TCP_CLOSE: u8 = 7;
const TCP_CLOSE_WAIT: u8 = 8;
const TCP_LAST_ACK: u8 = 9;

/// Asks the kernel. Valid for a connected TCP socket, also after its peer has gone.
pub fn read(socket: &impl AsFd) -> io::Result<Traffic> {
    traffic(&raw(socket)?)
}

fn traffic(info: &[u8]) -> io::Result<Traffic> {
    let short = || io::Error::new(io::ErrorKind::Unsupported, "this kernel's tcp_info has no byte counts");
    let u64_at = |at: usize| info.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_ne_bytes);
    let u32_at = |at: usize| info.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
    let state = *info.get(STATE).ok_or_else(short)?;
    let received = u64_at(BYTES_RECEIVED).ok_or_else(short)?;
    let fin_in = u64::from(matches!(state, TCP_CLOSE_WAIT | TCP_LAST_ACK));
    let on_its_way = u32_at(UNACKED).ok_or_else(short)? > 0 || u32_at(NOTSENT_BYTES).ok_or_else(short)? > 0;
    Ok(Traffic {
        bytes_in: received.saturating_sub(fin_in),
        bytes_out: u64_at(BYTES_ACKED).ok_or_else(short)?,
        settled: state == TCP_CLOSE || !on_its_way,
    })
}

#[allow(unsafe_code)]
fn raw(socket: &impl AsFd) -> io::Result<[u8; KNOWN_BYTES]> {
    let mut info = [0_u8; KNOWN_BYTES];
    let mut len = KNOWN_BYTES as libc::socklen_t;
    // SAFETY: the descriptor is borrowed for the call; `info` is `len` writable bytes, and the
    // kernel writes at most `len` of them.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    match rc {
        0 if len as usize == KNOWN_BYTES => Ok(info),
        0 => Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel's tcp_info has no byte counts")),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    fn settled(socket: &TcpStream, want: impl Fn(&Traffic) -> bool) -> Traffic {
        let begun = Instant::now();
        loop {
            let seen = read(socket).unwrap();
            if want(&seen) || begun.elapsed() > Duration::from_secs(5) {
                return seen;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn bytes_are_exact_also_after_the_client_has_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(&[7; 1000]).unwrap();
        server.read_exact(&mut [0; 1000]).unwrap();
        server.write_all(&[7; 300]).unwrap();
        client.read_exact(&mut [0; 300]).unwrap();
        let open = settled(&server, |seen| seen.settled && seen.bytes_out == 300);
        assert_eq!(open, Traffic { bytes_in: 1000, bytes_out: 300, settled: true });
        drop(client);
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(settled(&server, |seen| seen.settled), open, "a FIN is not a byte");
    }
}
