//! Random small programs under roar, compared with a model, with what is on disk, and
//! some of them with strace. `ROAR_SOAK` tells how many, `ROAR_SEED` the first seed.

mod generate;
mod model;
mod random;
