//! In which order and how many at a time calls are made.
//!
//! A service hears of one client, and of the publishers of one stream, in the order in which things happen. Who is
//! slow holds up nobody else: each event of each service has calls of its own under way and waiting, and beyond
//! their bounds calls are dropped, or refused where they decide.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::http::Uri;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Asker, Call, PATIENCE, make_in_time};

/// Jobs on the way to the thread.
const MAX_QUEUED: usize = 4096;
/// Jobs that wait for one event of one service, and those under way.
const MAX_WAITING: usize = 1024;
/// Calls that decide, under way at a time.
const MAX_DECIDING: usize = 64;
/// The same of calls that tell.
const MAX_TELLING: usize = 16;

/// What a job is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// It decides; the first call that fails refuses, and ends it.
    Decide(Asker),
    /// It tells what became of a client: each URL for itself, whatever the others answer.
    Tell,
    /// It tells of a file; the first call that fails ends it (SRS).
    File,
}

/// The calls of what happened.
#[derive(Debug)]
pub struct Job {
    /// The calls, in their order.
    pub calls: Vec<Call>,
    /// What they are for.
    pub purpose: Purpose,
}

/// The queue to the thread.
pub fn queue() -> (Sender<Job>, Receiver<Job>) {
    mpsc::channel(MAX_QUEUED)
}

/// Makes the calls of jobs until all senders are gone; `answer` gets what was decided, with the reason of a refusal.
pub(super) async fn work(mut jobs: Receiver<Job>, answer: impl Fn(Asker, Option<String>)) {
    let mut queue = Queue::default();
    loop {
        tokio::select! {
            job = jobs.recv() => match job {
                None => return,
                Some(Job { calls, purpose: Purpose::Tell }) => {
                    for call in calls {
                        queue.begin(Job { calls: vec![call], purpose: Purpose::Tell }, &answer);
                    }
                }
                Some(job) => queue.begin(job, &answer),
            },
            Some(Ok(done)) = queue.running.join_next() => queue.end(done, &answer),
        }
    }
}

/// One event of one service, by whether it decides, its name, and the service.
type Place = (bool, String, String);

struct Room {
    jobs: usize,
    permits: Arc<Semaphore>,
}

/// A job that was done.
struct Done {
    number: u64,
    purpose: Purpose,
    places: HashSet<Place>,
    turns: HashSet<String>,
    refused: Option<String>,
}

#[derive(Default)]
struct Queue {
    number: u64,
    rooms: HashMap<Place, Room>,
    /// The last job of each thing whose events are told in their order, and the end of it.
    last: HashMap<String, (u64, oneshot::Receiver<()>)>,
    running: JoinSet<Done>,
}

impl Queue {
    fn begin(&mut self, job: Job, answer: &impl Fn(Asker, Option<String>)) {
        let Job { calls, purpose } = job;
        let decides = matches!(purpose, Purpose::Decide(_));
        let place = |call: &Call| (decides, call.event().to_owned(), service(&call.url));
        let places: HashSet<Place> = calls.iter().map(place).collect();
        let full = |place: &&Place| self.rooms.get(place).is_some_and(|room| room.jobs >= MAX_WAITING);
        if let Some((_, event, service)) = places.iter().find(full) {
            let reason = format!("{event} {service}: too many calls are waiting");
            tracing::warn!(cid = client(&calls), "http hook: {reason}");
            if let Purpose::Decide(asker) = purpose {
                answer(asker, Some(reason));
            }
            return;
        }
        let permits = if decides { MAX_DECIDING } else { MAX_TELLING };
        for place in &places {
            let room = || Room { jobs: 0, permits: Arc::new(Semaphore::new(permits)) };
            self.rooms.entry(place.clone()).or_insert_with(room).jobs += 1;
        }
        let room = |call: &Call| self.rooms.get(&place(call)).map(|room| Arc::clone(&room.permits));
        let calls: Vec<(Call, Option<Arc<Semaphore>>)> =
            calls.into_iter().map(|call| (room(&call), call)).map(|(room, call)| (call, room)).collect();
        self.number += 1;
        let number = self.number;
        let turns: HashSet<String> = calls.iter().flat_map(|(call, _)| turns(call)).collect();
        let (mut before, mut ends) = (Vec::new(), Vec::new());
        for turn in &turns {
            let (end, ended) = oneshot::channel();
            before.extend(self.last.insert(turn.clone(), (number, ended)).map(|(_, ended)| ended));
            ends.push(end);
        }
        self.running.spawn(async move {
            let turn = async {
                for ended in before {
                    // Its sender is dropped when it ends.
                    let _ = ended.await;
                }
            };
            match decides {
                // What can't be told in time must not stop who wants to publish.
                true => drop(timeout(PATIENCE, turn).await),
                false => turn.await,
            }
            let refused = make_all(&calls).await.err();
            drop(ends);
            Done { number, purpose, places, turns, refused }
        });
    }

    fn end(&mut self, done: Done, answer: &impl Fn(Asker, Option<String>)) {
        for place in &done.places {
            if let Some(room) = self.rooms.get_mut(place) {
                room.jobs -= 1;
                if room.jobs == 0 {
                    self.rooms.remove(place);
                }
            }
        }
        for turn in &done.turns {
            if self.last.get(turn).is_some_and(|(number, _)| *number == done.number) {
                self.last.remove(turn);
            }
        }
        if let Purpose::Decide(asker) = done.purpose {
            answer(asker, done.refused);
        }
    }
}

/// One after the other; the first that fails ends them.
async fn make_all(calls: &[(Call, Option<Arc<Semaphore>>)]) -> Result<(), String> {
    for (call, permits) in calls {
        let _permit = match permits {
            Some(permits) => permits.acquire().await.ok(),
            None => None,
        };
        if let Err(reason) = make_in_time(call).await {
            tracing::warn!(cid = client(std::slice::from_ref(call)), "http hook: {reason}");
            return Err(reason);
        }
    }
    Ok(())
}

fn client<'a>(calls: impl IntoIterator<Item = &'a Call>) -> &'a str {
    calls.into_iter().next().and_then(|call| call.body["client_id"].as_str()).unwrap_or_default()
}

/// Whom a URL is of.
fn service(url: &str) -> String {
    let uri = url.parse::<Uri>().ok();
    uri.as_ref().and_then(Uri::authority).map_or_else(|| url.to_owned(), ToString::to_string)
}

/// What a call has to wait for its turn of, at its service: its client, and for a publisher the stream. Files have
/// an order of their own (SRS tells of them aside from the client).
fn turns(call: &Call) -> Vec<String> {
    let Some(client) = call.body["client_id"].as_str() else { return Vec::new() };
    let service = service(&call.url);
    let event = call.event();
    if matches!(event, "on_hls" | "on_dvr") {
        return vec![format!("{service} {event} {client}")];
    }
    let mut turns = vec![format!("{service} client {client}")];
    if matches!(event, "on_publish" | "on_unpublish") {
        let name = ["vhost", "app", "stream"].map(|name| call.body[name].as_str().unwrap_or_default());
        turns.push(format!("{service} stream {}", name.join("/")));
    }
    turns
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What a service saw: events as they came and, with `end`, as they were answered.
    type Seen = Arc<Mutex<Vec<String>>>;

    /// Answers 0, slowly; nothing to /silent, an error to /broken.
    async fn start() -> (String, Seen) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Seen::default();
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let seen = Arc::clone(&all);
                tokio::spawn(async move {
                    let mut text = Vec::new();
                    while !text.ends_with(b"}") && stream.read_buf(&mut text).await.unwrap() > 0 {}
                    let text = String::from_utf8(text).unwrap();
                    let path = text.split(' ').nth(1).unwrap().to_owned();
                    let body: Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
                    let name = format!(
                        "{} {}",
                        body["action"].as_str().unwrap(),
                        body["client_id"].as_str().unwrap()
                    );
                    seen.lock().unwrap().push(name.clone());
                    if path == "/silent" {
                        return std::future::pending().await;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    seen.lock().unwrap().push(format!("end {name}"));
                    let status = if path == "/broken" { "500 Broken" } else { "200 OK" };
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 1\r\n\r\n0");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                });
            }
        });
        (url, seen)
    }

    fn call(url: &str, event: &str, client: &str) -> Call {
        let body = json!({"action": event, "client_id": client, "vhost": "v", "app": "live", "stream": "s"});
        Call { url: url.to_owned(), body, read: None }
    }

    fn asker(id: &str) -> Asker {
        Asker { core: 0, index: 0, id: id.to_owned() }
    }

    /// Does the jobs and gives what was decided, once `until` is true of that and of what `seen` saw.
    async fn run(jobs: Vec<Job>, seen: &Seen, until: impl Fn(&[String], &[String]) -> bool) -> Vec<String> {
        let (sender, receiver) = queue();
        for job in jobs {
            sender.try_send(job).unwrap();
        }
        let decided = Mutex::new(Vec::new());
        let note = |asker: Asker, refused: Option<String>| {
            decided.lock().unwrap().push(format!("{} {}", asker.id, refused.is_none()));
        };
        let wait = async {
            while !until(&decided.lock().unwrap(), &seen.lock().unwrap()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = work(receiver, note) => {}
            result = timeout(Duration::from_secs(30), wait) => result.expect("in time"),
        }
        decided.into_inner().unwrap()
    }

    #[tokio::test]
    async fn a_failure_ends_what_decides_and_files_and_no_other_urls() {
        for (event, purpose, calls) in [
            ("on_close", Purpose::Tell, 2),
            ("on_dvr", Purpose::File, 1),
            ("on_publish", Purpose::Decide(asker("a")), 1),
        ] {
            let (url, seen) = start().await;
            let both = [format!("{url}/broken"), format!("{url}/good")];
            let job = Job { calls: both.iter().map(|url| call(url, event, "a")).collect(), purpose };
            // A call behind it, that is made when all of it was.
            let last = Job { calls: vec![call(&url, event, "a")], purpose: Purpose::Tell };
            run(vec![job, last], &seen, |_, seen| {
                seen.iter().filter(|one| one.starts_with("end")).count() > calls
            })
            .await;
            assert_eq!(seen.lock().unwrap().len(), 2 * (calls + 1), "{event}");
        }
    }

    #[tokio::test]
    async fn events_of_a_client_and_of_a_stream_do_not_overtake_each_other() {
        let (url, seen) = start().await;
        let tell = |event: &str| Job { calls: vec![call(&url, event, "old")], purpose: Purpose::Tell };
        let publish =
            Job { calls: vec![call(&url, "on_publish", "new")], purpose: Purpose::Decide(asker("new")) };
        let jobs = vec![tell("on_unpublish"), tell("on_close"), publish];
        let decided =
            run(jobs, &seen, |_, seen| seen.iter().filter(|one| one.starts_with("end")).count() == 3).await;
        assert!(decided.len() <= 1);
        let seen = seen.lock().unwrap();
        let at = |name: &str| seen.iter().position(|one| one == name).unwrap();
        assert!(at("end on_unpublish old") < at("on_close old"), "{seen:?}");
        assert!(at("end on_unpublish old") < at("on_publish new"), "{seen:?}");
    }

    #[tokio::test]
    async fn services_that_are_told_and_do_not_answer_stop_nobody() {
        let (url, seen) = start().await;
        let silent = format!("{url}/silent");
        let tell = |event: &str, number: usize| Job {
            calls: vec![call(&silent, event, &format!("{event}{number}"))],
            purpose: Purpose::File,
        };
        let mut jobs: Vec<Job> = (0..MAX_WAITING + 100).map(|number| tell("on_hls", number)).collect();
        jobs.extend((0..100).map(|number| tell("on_dvr", number)));
        jobs.push(Job { calls: vec![call(&url, "on_close", "c")], purpose: Purpose::Tell });
        jobs.push(Job { calls: vec![call(&url, "on_publish", "p")], purpose: Purpose::Decide(asker("p")) });
        let told = "end on_close c".to_owned();
        let decided = run(jobs, &seen, |decided, seen| !decided.is_empty() && seen.contains(&told)).await;
        assert_eq!(decided, ["p true"]);
        let count = seen.lock().unwrap().iter().filter(|one| one.starts_with("on_hls")).count();
        assert!(count <= MAX_TELLING, "{count}");
    }

    #[tokio::test]
    async fn what_decides_is_refused_when_too_much_waits() {
        let (url, seen) = start().await;
        let silent = format!("{url}/silent");
        let ask = |number: usize| {
            let id = number.to_string();
            Job { calls: vec![call(&silent, "on_play", &id)], purpose: Purpose::Decide(asker(&id)) }
        };
        let jobs = (0..=MAX_WAITING).map(ask).collect();
        let decided = run(jobs, &seen, |decided, _| !decided.is_empty()).await;
        assert_eq!(decided, [format!("{MAX_WAITING} false")]);
    }
}
