//! The list itself: what may be in it, and what can be done with it.

use serde::{Deserialize, Serialize};

/// The most todos of a list: what fits a page, and a value of the store by far.
const MAX_TODOS: usize = 100;
/// The most characters of a todo.
const MAX_TEXT: usize = 200;

/// All todos, oldest first.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Todos {
    last_id: u64,
    pub(crate) todos: Vec<Todo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Todo {
    pub(crate) id: u64,
    pub(crate) text: String,
    pub(crate) done: bool,
    /// Who wrote it; empty: someone.
    pub(crate) by: String,
}

/// Why a change cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unchanged {
    NoText,
    TooLong,
    ListFull,
    NotThere,
}

impl Todos {
    pub(crate) fn add(&mut self, text: &str, by: &str) -> Result<(), Unchanged> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Unchanged::NoText);
        }
        if text.chars().count() > MAX_TEXT {
            return Err(Unchanged::TooLong);
        }
        if self.todos.len() >= MAX_TODOS {
            return Err(Unchanged::ListFull);
        }
        self.last_id += 1;
        self.todos.push(Todo { id: self.last_id, text: text.to_owned(), done: false, by: by.to_owned() });
        Ok(())
    }

    pub(crate) fn toggle(&mut self, id: u64) -> Result<(), Unchanged> {
        let todo = self.todos.iter_mut().find(|todo| todo.id == id).ok_or(Unchanged::NotThere)?;
        todo.done = !todo.done;
        Ok(())
    }

    pub(crate) fn delete(&mut self, id: u64) -> Result<(), Unchanged> {
        let at = self.todos.iter().position(|todo| todo.id == id).ok_or(Unchanged::NotThere)?;
        self.todos.remove(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn todos_are_added_toggled_and_deleted_by_their_ids() {
        let mut list = Todos::default();
        list.add(" milk ", "Ann").unwrap();
        list.add("bread", "").unwrap();
        list.toggle(2).unwrap();
        list.delete(1).unwrap();
        list.add("eggs", "").unwrap();
        let left: Vec<_> = list.todos.iter().map(|todo| (todo.id, &*todo.text, todo.done)).collect();
        assert_eq!(left, [(2, "bread", true), (3, "eggs", false)], "an id is never used again");
        assert_eq!(list.toggle(1), Err(Unchanged::NotThere));
        assert_eq!(list.delete(1), Err(Unchanged::NotThere));
    }

    #[test]
    fn a_list_has_its_bounds() {
        let mut list = Todos::default();
        assert_eq!(list.add("  ", ""), Err(Unchanged::NoText));
        assert_eq!(list.add(&"ä".repeat(MAX_TEXT + 1), ""), Err(Unchanged::TooLong));
        for _ in 0..MAX_TODOS {
            list.add(&"ä".repeat(MAX_TEXT), "").unwrap();
        }
        assert_eq!(list.add("one more", ""), Err(Unchanged::ListFull));
    }
}
