//! [`together`]: completions that happen at once leave together.
//!
//! One flush completes hundreds of sends on one thread. Each of them answers its client by itself,
//! and knows nothing of the others; written one by one, the answers would cost a system call each.
//! Whoever completes many things runs them inside [`together`]; whoever can gather what they do
//! asks [`is_active`] and leaves the rest of the work to [`at_end`].

use std::cell::RefCell;

use super::sync::catch_panic;

type Work = Box<dyn FnOnce()>;

thread_local! {
    /// What was left to the end; `None` while nothing is done together.
    static LEFT: RefCell<Option<Vec<Work>>> = const { RefCell::new(None) };
}

/// Runs `work`, then what it left to the end, on this thread. Inside another one it just runs.
pub fn together(work: impl FnOnce()) {
    let nested = LEFT.with_borrow_mut(|left| match left {
        Some(_) => true,
        None => {
            *left = Some(Vec::new());
            false
        }
    });
    let _end = (!nested).then(|| End);
    work();
}

/// Does what was left, even when the work before it panicked, or some of it does: others wait for it.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        for work in LEFT.take().unwrap_or_default() {
            catch_panic("what was left to the end", work);
        }
    }
}

/// Whether this thread does things together.
pub fn is_active() -> bool {
    LEFT.with_borrow(Option::is_some)
}

/// Leaves `work` to the end of what this thread does together; runs it now if it does nothing so.
pub fn at_end(work: impl FnOnce() + 'static) {
    let mut work: Option<Work> = Some(Box::new(work));
    LEFT.with_borrow_mut(|left| {
        if let Some(left) = left {
            left.extend(work.take());
        }
    });
    if let Some(work) = work {
        work();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn what_is_left_runs_once_at_the_end() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let say = |word: &'static str| {
            let log = Rc::clone(&log);
            move || log.borrow_mut().push(word)
        };
        assert!(!is_active());
        at_end(say("at once"));
        together(|| {
            assert!(is_active());
            at_end(say("end"));
            together(|| at_end(say("end of the inner one is the end of the outer one")));
            say("work")();
        });
        assert!(!is_active());
        assert_eq!(
            *log.borrow(),
            ["at once", "work", "end", "end of the inner one is the end of the outer one"]
        );
        together(|| {
            at_end(|| panic!("on purpose"));
            at_end(say("all the same"));
        });
        assert_eq!(log.borrow().last(), Some(&"all the same"));
    }
}
