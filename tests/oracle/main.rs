//! Random small programs under roar, compared with a model, with what is on disk, and
//! some of them with strace; and processes that race for names. `ROAR_SOAK` tells how many, `ROAR_SEED` the first seed.

mod generate;
mod model;
mod moment;
mod race;
mod random;
