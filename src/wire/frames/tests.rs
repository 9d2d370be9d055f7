use super::super::stream::Stream;
use super::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use tokio::io::{AsyncWrite, ReadBuf};

/// A peer that sends the given pieces, one a read, with a WouldBlock after each.
struct Script(VecDeque<Option<Vec<u8>>>);

impl Socket for Script {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.pop_front() {
            Some(Some(piece)) => {
                out[..piece.len()].copy_from_slice(&piece);
                Ok(piece.len())
            }
            Some(None) => Err(ErrorKind::WouldBlock.into()),
            None => Ok(0),
        }
    }
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(data.len())
    }
    fn wants_write(&self) -> bool {
        false
    }
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![tag];
    frame.extend((body.len() as u32 + 4).to_be_bytes());
    frame.extend(body);
    frame
}

fn stream(pieces: impl IntoIterator<Item = Vec<u8>>) -> Stream {
    let pieces = pieces.into_iter().flat_map(|p| [Some(p), None]).collect();
    Stream::new(Box::new(Script(pieces)))
}

/// Reads what the crate would get, until nothing more comes.
fn forwarded(stream: &Stream) -> Vec<u8> {
    let mut storage = [0; 4096];
    let mut out = ReadBuf::new(&mut storage);
    for _ in 0..2000 {
        if !stream.0.borrow_mut().forward(&mut out).expect("a read") && stream.0.borrow().eof {
            break;
        }
    }
    out.filled().to_vec()
}

/// A COPY is asked for.
fn ask(stream: &Stream) {
    stream.expect_copy(Copy::Out);
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(&mut stream.clone()).poll_write(&mut context, b"Q").is_ready());
}

fn conversation() -> Vec<u8> {
    [
        frame(b'H', &[0, 0, 0]),
        frame(b'd', b"one"),
        frame(b'd', b""),
        frame(b'd', b"two"),
        frame(b'c', b""),
        frame(b'C', b"COPY 2\0"),
        frame(b'Z', b"I"),
    ]
    .concat()
}

#[test]
fn copy_data_is_taken_out_wherever_the_network_cuts_it() {
    let all = conversation();
    for size in 1..=all.len() {
        let stream = stream(all.chunks(size).map(<[u8]>::to_vec));
        ask(&stream);
        let mut storage = [0; 64];
        let mut head = ReadBuf::new(&mut storage);
        let mut data: Vec<u8> = Vec::new();
        let mut piece = [0; 2];
        for _ in 0..1000 {
            stream.0.borrow_mut().forward(&mut head).expect("forward");
            if !stream.is_at_work() {
                break;
            }
            match stream.take_copy_data(&mut piece) {
                Ok(Data::Bytes(n)) => data.extend(&piece[..n]),
                Ok(Data::Other) if !data.is_empty() => break,
                Ok(_) => {}
                Err(e) => panic!("{e} with pieces of {size}"),
            }
        }
        let mut rest = head.filled().to_vec();
        rest.extend(forwarded(&stream));
        assert_eq!(data, b"onetwo", "pieces of {size}");
        let others = [frame(b'C', b"COPY 2\0"), frame(b'Z', b"I")];
        assert_eq!(rest, others.concat(), "pieces of {size}");
        assert_eq!(stream.complete_tag().as_deref(), Some("COPY 2"));
        assert!(stream.has_copy_begun() && !stream.is_at_work());
    }
}

#[test]
fn the_crate_gets_nothing_past_data_that_nobody_has_taken() {
    let stream = stream([[
        frame(b'N', b"\0"),
        frame(b'H', &[0, 0, 0]),
        frame(b'd', b"x"),
        frame(b'Z', b"I"),
    ]
    .concat()]);
    ask(&stream);
    assert_eq!(forwarded(&stream), frame(b'N', b"\0"));
    assert!(stream.is_at_work());
}

#[test]
fn a_statement_that_has_failed_is_over() {
    let stream = stream([frame(b'E', b"\0")]);
    ask(&stream);
    assert!(stream.is_at_work());
    forwarded(&stream);
    assert!(!stream.is_at_work());
}

#[test]
fn a_value_larger_than_the_buffer_streams_through() {
    let big = vec![7u8; BUFFER * 3 + 5];
    let stream = stream(frame(b'd', &big).chunks(BUFFER / 2).map(<[u8]>::to_vec));
    stream.0.borrow_mut().copying = true;
    let mut out = vec![0; 64 * 1024];
    let mut total = 0;
    while total < big.len() {
        match stream.take_copy_data(&mut out).expect("data") {
            Data::Bytes(n) => total += n,
            Data::Wait | Data::Again => {}
            Data::Other => panic!("data ended at {total}"),
        }
    }
}

#[test]
fn an_end_in_the_middle_of_data_is_an_error_not_the_end() {
    let stream = stream([frame(b'd', b"abcdef")[..8].to_vec()]);
    stream.0.borrow_mut().copying = true;
    let mut out = [0; 16];
    let mut last = Ok(Data::Wait);
    for _ in 0..5 {
        last = stream.take_copy_data(&mut out);
        if last.is_err() {
            break;
        }
    }
    assert_eq!(last.expect_err("an end").kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_copy_that_nobody_asked_for_is_refused() {
    for (asked, tags) in [
        (false, "d"),
        (false, "H"),
        (false, "c"),
        (true, "d"),
        (true, "c"),
        (true, "HH"),
        (true, "Hcc"),
        (true, "HC"),
        (true, "HZ"),
        (true, "ZH"),
        (true, "EH"),
    ] {
        let frames = tags.bytes().map(|tag| frame(tag, b"\0\0\0"));
        let stream = stream([frames.collect::<Vec<_>>().concat()]);
        if asked {
            ask(&stream);
        }
        let mut storage = [0; 64];
        let mut out = ReadBuf::new(&mut storage);
        let mut results = (0..3).map(|_| stream.0.borrow_mut().forward(&mut out));
        assert!(results.any(|result| result.is_err()), "{asked} {tags}");
    }
}

/// A peer that repeats a frame for ever.
struct Endless(Vec<u8>, usize);

impl Socket for Endless {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        for byte in out.iter_mut() {
            *byte = self.0[self.1 % self.0.len()];
            self.1 += 1;
        }
        Ok(out.len())
    }
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(data.len())
    }
    fn wants_write(&self) -> bool {
        false
    }
}

#[test]
fn an_answer_without_end_is_refused_by_what_it_would_take() {
    let row = [&[3, 0][..], &[255; 3072]].concat();
    for (tag, body) in [
        (b'D', b"\0\x01\0\0\0\x01x".as_slice()),
        (b'D', &row),
        (b'N', b"\0"),
        (b'S', b"a\0b\0"),
        (b'I', b""),
        (b'T', b"\0\0"),
    ] {
        let stream = Stream::new(Box::new(Endless(frame(tag, body), 0)));
        let mut storage = vec![0; BUFFER];
        let mut forwarded = 0;
        let error = loop {
            let mut out = ReadBuf::new(&mut storage);
            match stream.0.borrow_mut().forward(&mut out) {
                Ok(_) => forwarded += out.filled().len(),
                Err(error) => break error,
            }
            assert!(forwarded <= LARGEST_ANSWER, "{}", char::from(tag));
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn what_has_been_asked_anew_may_be_answered_anew() {
    let stream = Stream::new(Box::new(Endless(frame(b'D', &[0; 1_000_000]), 0)));
    let mut storage = vec![0; BUFFER];
    for asked in 0..3 {
        let mut error = None;
        for _ in 0..LARGEST_ANSWER / 2 / BUFFER {
            let result = stream.0.borrow_mut().forward(&mut ReadBuf::new(&mut storage));
            error = error.or(result.err());
        }
        assert!(error.is_none(), "{asked}: {error:?}");
        let written =
            Pin::new(&mut stream.clone()).poll_write(&mut Context::from_waker(std::task::Waker::noop()), b"Q");
        assert!(written.is_ready());
    }
}

#[test]
fn empty_data_without_end_leaves_room_for_a_cancel() {
    let stream = Stream::new(Box::new(Endless(frame(b'd', b""), 0)));
    stream.0.borrow_mut().copying = true;
    let mut out = [0; 16];
    for _ in 0..100 {
        assert_eq!(stream.take_copy_data(&mut out).expect("no error"), Data::Again);
        assert!(
            !stream
                .0
                .borrow_mut()
                .forward(&mut ReadBuf::new(&mut out))
                .expect("no error")
        );
    }
    // Also after something else.
    let notice = frame(b'N', b"\0");
    stream.0.borrow_mut().buffer[..notice.len()].copy_from_slice(&notice);
    (stream.0.borrow_mut().start, stream.0.borrow_mut().end) = (0, notice.len());
    stream.0.borrow_mut().state = State::Header;
    let moved = stream.0.borrow_mut().forward(&mut ReadBuf::new(&mut out));
    assert!(moved.expect("no error"));
    assert!(stream.received() <= 400 * BUFFER as u64);
}

/// A peer that takes so much at a time, every second time nothing.
struct Slow(Rc<RefCell<Vec<u8>>>, usize, bool);

impl Socket for Slow {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.2 = !self.2;
        if self.2 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = data.len().min(self.1);
        self.0.borrow_mut().extend(&data[..n]);
        Ok(n)
    }
    fn wants_write(&self) -> bool {
        true
    }
}

#[test]
fn copy_data_is_passed_on_as_it_is_wherever_the_networks_cut_it() {
    let rows = [frame(b'd', b"first"), frame(b'd', b""), frame(b'd', &[7; 300])].concat();
    let bytes = [
        frame(b'H', b"\0\0\0"),
        rows.clone(),
        frame(b'c', b""),
        frame(b'C', b"COPY 3\0"),
    ]
    .concat();
    for cut in 1..bytes.len() {
        let from = stream(bytes.chunks(cut).map(<[u8]>::to_vec));
        ask(&from);
        let mut forwarded = Vec::<u8>::new();
        let passed = Rc::new(RefCell::new(Vec::new()));
        let to = Stream::new(Box::new(Slow(passed.clone(), cut % 13 + 1, false)));
        for _ in 0..4 * bytes.len() {
            let mut storage = [0; 64];
            let mut out = ReadBuf::new(&mut storage);
            // The crate looks whenever it likes, and gets nothing of it.
            from.0.borrow_mut().forward(&mut out).expect("a read");
            forwarded.extend(out.filled());
            if from.has_copy_begun() && forwarded.is_empty() {
                from.pass_copy_data(&to).expect("no error");
            }
        }
        assert_eq!(forwarded, frame(b'C', b"COPY 3\0"), "cut at {cut}");
        assert!(*passed.borrow() == rows, "cut at {cut}");
        assert_eq!(from.frames(), 3);
        assert_eq!(from.complete_tag().as_deref(), Some("COPY 3"));
    }
}

#[test]
fn only_a_request_for_a_password_counts_as_one() {
    for (code, counts) in [(0u32, false), (3, true), (5, true), (10, true), (7, false)] {
        let stream = stream([frame(b'R', &code.to_be_bytes())]);
        forwarded(&stream);
        assert_eq!(stream.password_requested(), counts, "{code}");
        assert_eq!(stream.is_authenticated(), code == 0, "{code}");
    }
}

#[test]
fn impossible_lengths_are_refused() {
    for (tag, length) in [
        (b'T', 0u32),
        (b'T', 3),
        (b'T', u32::MAX),
        (b'T', 17 << 20),
        (b'd', 3),
        (b'd', 1 << 31),
        (b'R', 7),
        (b'D', 5),
    ] {
        let mut bytes = vec![tag];
        bytes.extend(length.to_be_bytes());
        let stream = stream([bytes]);
        let mut storage = [0; 16];
        let result = stream.0.borrow_mut().forward(&mut ReadBuf::new(&mut storage));
        assert!(result.is_err(), "{} {length}", char::from(tag));
    }
}

#[test]
fn nobody_is_let_in_before_the_answer_in_whose_place_the_password_would_go() {
    let challenge = [&[0, 0, 0, 10, 0, 0, 0, 2][..], &[b'a'; 72], &10_000u32.to_be_bytes()].concat();
    let let_in = frame(b'R', &[0; 4]);
    let stream = stream([[frame(b'R', &challenge), let_in].concat()]);
    stream.ask_for_gauss();
    let mut storage = [0; 4096];
    let mut out = ReadBuf::new(&mut storage);
    let mut refused = false;
    for _ in 0..10 {
        refused |= stream.0.borrow_mut().forward(&mut out).is_err();
    }
    assert!(refused && !stream.is_authenticated());
    assert_eq!(out.filled(), gauss_login::CLEAR_TEXT);
}
