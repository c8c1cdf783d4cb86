//! The numbers that puts go on with after a start: [`set_next_offsets`].

use std::sync::Arc;

use super::config::StoreConfig;
use super::consume_queue::ConsumeQueue;
use super::dispatch::{MAX_QUEUE_OFFSET, ReputMessageService, for_each_multi_queue, is_counted};
use super::queue_table::QueueTable;
use crate::common::record::RecordView;

/// Tells every queue the number of its next message: it follows the queue's last unit, or, if records of
/// the queue wait for theirs because they cannot be dispatched at the moment, the last of these.
///
/// What waits may remove queues too: a topic that was removed and begun again has a message 0 once
/// more. The first life goes now, and the second begins with that record, because
/// [from here on](QueueTable::takes_puts) dispatch takes no number for a begin.
///
/// Under the append lock, and while nobody dispatches. (A slave's next numbers are its master's.)
pub fn set_next_offsets(queues: &QueueTable, reput: &ReputMessageService, config: &StoreConfig) {
    for queue in queues.snapshot() {
        queue.set_next_offset(queue.max_offset());
    }
    if config.is_slave() {
        return;
    }
    reput.visit_left(config, |record| {
        let number = record.queue_offset;
        if !is_counted(record.sys_flag) || !(0..=MAX_QUEUE_OFFSET).contains(&number) {
            return;
        }
        let mut taken = Taken { queues, record, by: Vec::new() };
        taken.number(record.topic, record.queue_id, number);
        let visited = for_each_multi_queue(record, config, |topic, queue_id, number| {
            taken.number(topic, queue_id, number);
            Ok(())
        });
        if let Err(error) = visited {
            log::error!("the numbers of the message at {}: {error}", record.physical_offset);
        }
    });
    queues.set_takes_puts();
}

/// The numbers that a record will take.
struct Taken<'a> {
    queues: &'a QueueTable,
    record: &'a RecordView<'a>,
    /// In these queues it has one already.
    by: Vec<Arc<ConsumeQueue>>,
}

impl Taken<'_> {
    /// It will be message `number` of a queue, as far as dispatch will find so.
    fn number(&mut self, topic: &str, queue_id: i32, number: i64) {
        let begin = self.record.physical_offset;
        // What has no queue is told when it is dispatched.
        let Ok(mut queue) = self.queues.find_or_create(topic, queue_id) else { return };
        let is_new = begin + i64::from(self.record.total_size) > queue.max_physical();
        let is_it = |other: &Arc<ConsumeQueue>| Arc::ptr_eq(other, &queue);
        if !is_new || self.by.iter().any(is_it) {
            return;
        }
        let next = queue.next_offset();
        if number == 0 && next > 0 {
            log::info!(
                "queue {queue_id} of topic {topic} begins again with the message at {begin}"
            );
            self.queues.remove(|other| std::ptr::eq(other, &*queue), 1);
            let Ok(begun) = self.queues.find_or_create(topic, queue_id) else { return };
            queue = begun;
            queue.set_first_record(begin);
            queue.set_next_offset(1);
        } else if next == 0 {
            queue.set_next_offset(number + 1);
        } else if number >= next {
            // One that leaves numbers out gets the next unit all the same.
            queue.set_next_offset(next + 1);
        }
        self.by.push(queue);
    }
}
