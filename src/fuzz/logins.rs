//! Requests of openGauss' logins, and the names of its partitions.

use super::{fuzz, soup};
use crate::plan::gauss::{Part, table_of};
use crate::plan::typed_bounds::is_iso;
use crate::wire::gauss_login::{Login, Request, read};
use proptest::prelude::*;

/// The body of a request, nearly right.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![4 => prop::sample::select(vec![10u32, 11, 13, 5]), 1 => any::<u32>()];
    let method = prop_oneof![4 => prop::sample::select(vec![2u32, 3]), 1 => any::<u32>()];
    let digits = prop::collection::vec(
        prop_oneof![20 => prop::sample::select(b"0123456789abcdefABCDEF".to_vec()), 1 => any::<u8>()],
        60..160,
    );
    let iterations = prop_oneof![any::<u32>(), 2_000u32..2_100];
    (
        code,
        method,
        digits,
        iterations,
        prop::sample::select(vec![64usize, 68, 72, 76, 136, 140]),
    )
        .prop_map(|(code, method, mut digits, iterations, length)| {
            digits.truncate(length);
            [
                &code.to_be_bytes()[..],
                &method.to_be_bytes(),
                &digits,
                &iterations.to_be_bytes(),
            ]
            .concat()
        })
}

#[test]
fn a_request_is_answered_or_refused() {
    fuzz(
        "logins",
        (request(), any::<bool>(), any::<usize>()),
        |(body, asks, cut)| {
            let body = if cut % 4 == 0 {
                &body[..cut % (body.len() + 1)]
            } else {
                &body[..]
            };
            let told = read(body, asks);
            let mut login = Login::default();
            login.asks = asks;
            let noted = login.note(body);
            prop_assert_eq!(noted == Ok(true), matches!(told, Ok(Request::Challenge(_))));
            if let Ok(Request::Challenge(challenge)) = &told
                && challenge.iterations() < 3_000
            {
                let message = b"p\0\0\0\x09secr\0";
                let instead = login.instead_of(message).map(|answer| answer.map(<[u8]>::to_vec));
                let answer = instead.expect("digests").expect("an answer");
                prop_assert!(answer.starts_with(b"p") && answer.ends_with(b"\0"));
                prop_assert!(!answer.windows(4).any(|window| window == b"secr"));
            }
            Ok(())
        },
    );
}

#[test]
fn what_is_read_as_a_partition_is_one() {
    const WORDS: &[&str] = &[
        "\"s\"",
        ".",
        "\"t\"",
        " PARTITION (",
        " SUBPARTITION (",
        "\"p\"",
        ")",
        "2024-01-01",
        "01/02/2024",
    ];
    fuzz("partitions", soup(WORDS), |text| {
        if let Some(part) = Part::parse(&text) {
            prop_assert_eq!(Part::parse(&part.relation()), Some(part.clone()));
            prop_assert!(text.starts_with(&part.table));
        }
        prop_assert!(text.starts_with(&table_of(&text)));
        is_iso(&text);
        Ok(())
    });
}
