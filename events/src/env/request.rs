//! May this environment come into being? Once: a repeated request finds what the first one made.

use super::{Env, EnvEvent, EnvRefusal, EnvRequested, Status};
use crate::aggregate::Decision;

pub fn request(state: &Env, asked: EnvRequested) -> Decision<EnvEvent, EnvRefusal> {
    if state.status == Status::Absent { Ok(Some(asked.into())) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::asked;
    use crate::testing::given;

    #[test]
    fn asking_twice_makes_one_environment() {
        let nothing = Env::default();
        assert_eq!(request(&nothing, asked()), Ok(Some(asked().into())));
        let there = given::<Env>(vec![(0, asked().into())]);
        assert_eq!(request(&there, asked()), Ok(None));
    }
}
