//! From a real openGauss or GaussDB: `make test-opengauss`.

mod columns;
mod elsewhere;
mod kinds;
mod logins;
mod meanwhile;
mod pieces;
mod typed_bounds;
