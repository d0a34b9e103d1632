//! The parts together: functions as processes over the Lambda Runtime API, against the embedded DynamoDB, the QStash
//! server and a real HTTP receiver, each on a port of its own.
//!
//! | module | what must hold |
//! |---|---|
//! | [`dev_stack`] | the development stack as a developer and a web page meet it |
//! | [`ages`] | how long a process keeps the routes, by both clocks |
//! | [`alarms`] | the doctor and `surehook alarms` name the addresses that alarms reach |
//! | [`alarms_ring`] | each fault rings an alarm within an hour, and quiet days ring none |
//! | [`answers`] | every row of the table of answers, through the real process |
//! | [`committed_together`] | `complete_with`: a handler's own writes stand exactly if the event is done |
//! | [`once`] | handled once: copies, crashes, capacity, bytes |
//! | [`conflicts`] | content that collides with another event's is explained, and delivered once as an event of its own |
//! | [`contract`] | the table answers what the pure rules answer, on each DynamoDB that there is |
//! | [`deployed`] | the template and its permissions, what is logged, secrets and their rotation |
//! | [`destinations`] | delivering to destinations: routing, signatures, safety, back-pressure, connections |
//! | [`doctor`] | each mistake that is planted is found, with what to do |
//! | [`failure_path`] | what fails is delivered again or kept, replayed or purged |
//! | [`requeuer`] | every callback that QStash may send |
//! | [`sweep`] | what no callback brought, whoever else's entries there are |
//! | [`operator`] | the operator's commands, as processes |
//! | [`replays`] | replays by command: choice, guard, interruption, memory |
//! | [`load`] | a load is proven, and what is missing is listed |
//! | [`why`] | the story of one event |
//! | [`fast_day`] | a day without the receiver, with kills, lost callbacks and doubled deliveries |
//! | [`faults`] | faults of the configuration that no event of the ledger shows |
//! | [`interrupted`] | whatever fails between any two steps of the failure path, nothing is lost and nothing is sent twice |
//! | [`interrupted_consumer`] | whatever fails between any two steps of the consumer, the event comes to its end |
//! | [`kept_headers`] | which headers of a failed event the table keeps, and what a replay sends again |
//! | [`letter_days`] | the days that have letters are listed before their letters stand, and written once |
//! | [`policy`] | an operator's shell decides by the stack's policy |
//! | [`producer`] | accepted means durable |
//! | [`qstash_command`] | `surehook qstash` as its user sees it |
//! | [`qstash_server`] | our QStash as the rest of Surehook uses it; all of the protocol is tested in its own crate |
//! | [`regions`] | what comes from a region of QStash goes back there, also after a migration |
//! | [`starting`] | what can't start says why |
//! | [`stranded`] | what nobody will bring again is found and shown |
//! | [`unmatched`] | events that no route takes are kept where their source says so, and listed by type |
//! | [`weather`] | DynamoDB throttles, fails, hangs: the consumer answers in time, and loses nothing |

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod ages;
mod alarms;
mod alarms_ring;
mod answers;
mod committed_together;
mod conflicts;
mod contract;
mod deployed;
mod destinations;
mod dev_stack;
mod doctor;
mod failure_path;
mod fast_day;
mod faults;
mod interrupted;
mod interrupted_consumer;
mod kept_headers;
mod letter_days;
mod load;
mod once;
mod operator;
mod policy;
mod producer;
mod qstash_command;
mod qstash_server;
mod regions;
mod replays;
mod requeuer;
mod starting;
mod stranded;
mod support;
mod sweep;
mod unmatched;
mod waiting;
mod weather;
mod why;
