//! Frames of the wire.

use super::fuzz;
use crate::wire::frames::{Copy, Data, Socket};
use crate::wire::stream::Stream;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, ReadBuf};

/// A peer that sends the given pieces, with a pause after each, and closes.
struct Script(VecDeque<Vec<u8>>, bool);

impl Socket for Script {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let Some(mut piece) = self.0.pop_front() else {
            return Ok(0);
        };
        let n = piece.len().min(out.len());
        out[..n].copy_from_slice(&piece[..n]);
        if n < piece.len() {
            self.0.push_front(piece.split_off(n));
        }
        Ok(n)
    }
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(data.len())
    }
    fn wants_write(&self) -> bool {
        false
    }
}

/// What a peer sends: frames, right ones mostly, of a COPY mostly.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![
        8 => Just(b'd'),
        2 => Just(b'H'),
        4 => prop::sample::select(b"cCZERSNTDIGWAK123tn".to_vec()),
        1 => any::<u8>(),
    ];
    let body = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 0usize..600_000).prop_map(|(byte, times)| vec![byte; times]),
    ];
    let wrong = prop_oneof![30 => Just(None), 1 => any::<u32>().prop_map(Some), 1 => (0u32..12).prop_map(Some)];
    let frame = (tag, body, wrong).prop_map(|(tag, body, wrong)| {
        let length = wrong.unwrap_or(body.len() as u32 + 4);
        [&[tag][..], &length.to_be_bytes(), &body].concat()
    });
    (any::<bool>(), prop::collection::vec(frame, 0..30)).prop_map(|(begun, frames)| {
        let begin: &[u8] = if begun { b"H\0\0\0\x07\0\0\0" } else { b"" };
        [begin, &frames.concat()].concat()
    })
}

/// What the crate and a COPY, which was asked for, may get of `bytes`, read the plain way; and whether something in them is against the rules.
fn expected(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>, bool) {
    let (mut forwarded, mut data, mut expected, mut copying) = (Vec::new(), Vec::new(), true, false);
    while let Some((&[tag, a, b, c, d], rest)) = bytes.split_first_chunk() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let broken = match tag {
            b'd' => !copying || length > i32::MAX as usize,
            _ if copying && !b"cENSA".contains(&tag) => true,
            b'H' => !expected || length > 16 << 20,
            // Nobody has asked for one that takes rows.
            b'G' => true,
            b'C' if expected => true,
            b'c' => !copying || length > 16 << 20,
            b'R' => !(8..=16 << 20).contains(&length),
            b'D' => !(6..=16 << 20).contains(&length),
            _ => length > 16 << 20,
        };
        if length < 4 || broken {
            return (forwarded, data, true);
        }
        let body = &rest[..rest.len().min(length - 4)];
        match tag {
            b'd' => data.extend(body),
            b'H' | b'c' => {}
            _ => forwarded.extend(&bytes[..5 + body.len()]),
        }
        expected &= !matches!(tag, b'H' | b'E' | b'Z');
        copying = matches!(tag, b'H') || (copying && !matches!(tag, b'c' | b'E'));
        bytes = &rest[body.len()..];
    }
    (forwarded, data, false)
}

#[test]
fn frames_go_where_they_belong_however_they_arrive() {
    let how = prop::collection::vec((1usize..5000, 1usize..300, any::<bool>()), 1..20);
    fuzz("wire", (bytes(), how), |(bytes, how)| {
        let mut pieces = VecDeque::new();
        let (mut rest, mut sizes) = (&bytes[..], how.iter().cycle());
        while let (false, Some((size, ..))) = (rest.is_empty(), sizes.next()) {
            let (piece, later) =
                rest.split_at(
                    rest.len()
                        .min(if bytes.len() < 5000 { size % 64 + 1 } else { size * 20 }),
                );
            pieces.push_back(piece.to_vec());
            rest = later;
        }
        // Each step moves something, reads a piece, meets a pause, or is one of the two that ask in vain.
        let steps = 8 * pieces.len() + bytes.len() + 64;
        let stream = Stream::new(Box::new(Script(pieces, false)));
        stream.expect_copy(Copy::Out);
        let (mut forwarded, mut data, mut failed) = (Vec::new(), Vec::new(), false);
        let mut buffer = vec![0; 200_000];
        let mut idle = 0;
        for (_, (_, size, copy)) in (0..steps).zip(how.iter().cycle()) {
            let size = if bytes.len() < 5000 { *size } else { buffer.len() };
            let before = (stream.received(), forwarded.len(), data.len());
            if *copy || stream.has_copy_data() {
                match stream.take_copy_data(&mut buffer[..size]) {
                    Ok(Data::Bytes(n)) => data.extend(&buffer[..n]),
                    Ok(_) => {}
                    Err(error) => failed |= error.kind() == ErrorKind::InvalidData,
                }
            }
            let mut out = ReadBuf::new(&mut buffer[..size]);
            let mut context = Context::from_waker(Waker::noop());
            match Pin::new(&mut stream.clone()).poll_read(&mut context, &mut out) {
                Poll::Ready(Err(error)) => failed |= error.kind() == ErrorKind::InvalidData,
                _ => forwarded.extend(out.filled()),
            }
            let moved = (stream.received(), forwarded.len(), data.len());
            idle = if moved == before { idle + 1 } else { 0 };
            if failed || (idle > 3 && moved.0 as usize == bytes.len()) {
                break;
            }
        }
        let (all_forwarded, all_data, broken) = expected(&bytes);
        prop_assert!(
            all_forwarded.starts_with(&forwarded),
            "forwarded {forwarded:?} of {all_forwarded:?}"
        );
        prop_assert!(all_data.starts_with(&data), "took {data:?} of {all_data:?}");
        prop_assert_eq!(stream.received() as usize <= bytes.len(), true);
        prop_assert_eq!(failed, broken);
        if !broken {
            // Headers that the end cuts off, and what has to be there whole to be looked at, may stay behind.
            prop_assert!(all_forwarded.len() - forwarded.len() < 70);
            prop_assert_eq!(data, all_data);
        }
        Ok(())
    });
}
