//! How a client's log is read, entry after entry; what cannot be any client's log is found here.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::Dialect;
use crate::wire::{Frame, History, Member, Presence, PresenceAction};

use super::story::{
    Answer, Asked, Mark, Page, Position, Seen, SeenMember, Sent, Sight, Stay, Step, Story, Told, Wish,
};
use super::{Broken, is_kept};
use crate::sim::client::{Client, What};

impl Story {
    pub(super) fn read(no: usize, client: &Client) -> Result<Self, Broken> {
        let mut reader = Reader {
            story: Self {
                no,
                life: client.life,
                times: client.log().iter().map(|entry| entry.at).collect(),
                dialect: client.dialect(),
                requests: Vec::new(),
                published: Vec::new(),
                stays: Vec::new(),
                sights: Vec::new(),
                pages: Vec::new(),
                name: None,
                token: None,
                complaints: Vec::new(),
                put_out: Vec::new(),
                stopped: false,
                rude: false,
                garbage: false,
                connected: false,
                denied: false,
                end: None,
                hung_up: false,
                broken: client.broken,
            },
            ids: BTreeMap::new(),
            inside: BTreeMap::new(),
        };
        for (place, entry) in client.log().iter().enumerate() {
            reader.entry(place, entry.at, &entry.what)?;
        }
        let mut story = reader.story;
        let requests = &story.requests;
        for stay in &mut story.stays {
            // What was refused did not end it.
            let leave = requests.iter().find(|asked| {
                asked.wish == Wish::Unsubscribe
                    && asked.channel == stay.channel
                    && asked.sent.0 > stay.asked.0
                    && asked.answer.is_none_or(|answer| answer.code.is_none())
            });
            let left = leave.map(|asked| asked.sent).or_else(|| story.end.map(|end| end.0));
            let end = story.end.map(|((_, at), _)| at);
            let heard = leave.and_then(|asked| asked.answer).map(|answer| answer.got.1).or(end);
            stay.over = heard.into_iter().chain(stay.left.map(|(_, at)| at)).min();
            stay.left = left.into_iter().chain(stay.left).min();
        }
        Ok(story)
    }
}

struct Reader {
    story: Story,
    /// From a request's id to its place.
    ids: BTreeMap<u64, usize>,
    /// From a channel to the stay that is going on.
    inside: BTreeMap<String, usize>,
}

impl Reader {
    fn entry(&mut self, place: usize, at: u64, what: &What) -> Result<(), Broken> {
        match what {
            What::Sent(frame) => self.sent(place, at, &frame.get()),
            What::Got(frame) => self.got(place, at, &frame.get())?,
            What::Garbage => self.story.garbage = true,
            What::Stopped => self.story.stopped = true,
            What::Resumed => {}
            What::HungUp => {
                self.story.hung_up = true;
                self.story.end = Some(((place, at), None));
            }
            What::Ended(code) => self.story.end = Some(((place, at), *code)),
        }
        Ok(())
    }

    fn sent(&mut self, place: usize, at: u64, frame: &Frame<'_>) {
        let (id, wish, channel) = match *frame {
            Frame::Connect(connect) => {
                // A second one is a mistake, except for clients of the first release.
                self.story.rude |= self.story.connected && self.story.dialect != Dialect::Legacy;
                if place == 0 {
                    self.story.connected = true;
                    self.story.token = connect.token.map(ToString::to_string);
                }
                self.story.denied |= connect.token == Some("deny");
                return;
            }
            Frame::Subscribe(request) => (request.id, Wish::Subscribe, request.channel),
            Frame::Unsubscribe(request) => (request.id, Wish::Unsubscribe, request.channel),
            Frame::Publish(publish) => {
                let (mark, len) = Mark::read(publish.payload).expect("what is published says what it is");
                let channel = publish.channel.to_string();
                self.story.published.push(Sent { mark, channel, at, len, id: publish.id });
                let Some(id) = publish.id else { return };
                (id, Wish::Publish { len, repeats: false }, publish.channel)
            }
            Frame::History(request) => {
                let channel = request.channel.unwrap_or_default();
                let wish = if is_kept(channel) { Wish::History } else { Wish::Unavailable };
                (request.id, wish, channel)
            }
            Frame::Refresh(request) => (request.id, Wish::Unavailable, ""),
            Frame::Presence(request) => (request.id, Wish::Presence(request.action), request.channel),
            Frame::Ping { .. } => return,
            _ => return self.story.rude = true,
        };
        self.ids.insert(id, self.story.requests.len());
        let (data, from_start) = match frame {
            Frame::Presence(request) => {
                (request.data.map(|data| data.as_bytes().into()), request.after.is_none())
            }
            _ => (None, false),
        };
        let (since, latest) = match frame {
            Frame::Subscribe(request) => (request.recover, request.latest.unwrap_or(0)),
            Frame::History(request) => (request.since, 0),
            _ => (None, 0),
        };
        self.story.requests.push(Asked {
            id,
            wish,
            channel: channel.to_string(),
            sent: (place, at),
            data,
            from_start,
            answer: None,
            since: since.map(|point| (point.epoch.into(), point.offset)),
            latest,
            acked_at: None,
            recovered: None,
        });
    }

    fn got(&mut self, place: usize, at: u64, frame: &Frame<'_>) -> Result<(), Broken> {
        let no = self.story.no;
        match *frame {
            Frame::Ack(ack) => {
                self.answer(ack.id, Answer { got: (place, at), code: None })?;
                let asked = &mut self.story.requests[self.ids[&ack.id]];
                asked.recovered = ack.recovered;
                let position = ack.epoch.zip(ack.offset);
                asked.acked_at = position.map(|(epoch, offset)| Position { epoch: epoch.into(), offset });
                let told = asked.acked_at.is_some();
                let numbered = matches!(asked.wish, Wish::Subscribe | Wish::Publish { .. });
                let due = numbered && is_kept(&asked.channel) && self.story.dialect != Dialect::Legacy;
                // One that has ended before its home has said where it begins is told no position.
                if told != due && (told || !asked.may_have_ended()) {
                    let text = format!("got an ack with the position {:?}", asked.acked_at);
                    let channel = asked.channel.clone();
                    return Err(self.broken(&channel, text));
                }
            }
            Frame::History(page) => return self.page(place, at, &page),
            Frame::Error(error) if error.id == 0 => self.story.complaints.push(error.code),
            Frame::Error(error) => {
                return self.answer(error.id, Answer { got: (place, at), code: Some(error.code) });
            }
            Frame::Publish(publish) => {
                let Some((mark, len)) = Mark::read(publish.payload) else {
                    return Err(self.broken(publish.channel, "got a publication that nobody sent".into()));
                };
                let Some(&stay) = self.inside.get(publish.channel) else {
                    let text = format!("got {mark:?} ({len} bytes) and is not in the channel");
                    return Err(self.broken(publish.channel, text));
                };
                self.story.stays[stay].received.push((place, mark));
                if publish.offset.is_some() != is_kept(publish.channel) {
                    let text = format!("got {mark:?} with the number {:?}", publish.offset);
                    return Err(self.broken(publish.channel, text));
                }
                if let Some(offset) = publish.offset {
                    self.story.stays[stay].steps.push((place, Step::Got { offset, mark }));
                }
            }
            Frame::Gap(gap) => {
                if self.story.dialect == Dialect::Legacy {
                    return Err(self.broken(gap.channel, "is told of a gap in a frame it cannot know".into()));
                }
                let Some(&stay) = self.inside.get(gap.channel) else {
                    return Err(self.broken(gap.channel, "is told of a gap and is not in the channel".into()));
                };
                self.story.stays[stay].gaps.push(Told {
                    place,
                    count: gap.count,
                    overloaded: gap.reason == "overloaded",
                    trimmed: gap.reason == "trimmed",
                });
                self.story.stays[stay].steps.push((place, Step::Gap { count: gap.count, from: gap.from }));
            }
            Frame::Unsubscribed(end) => {
                let Some(stay) = self.inside.remove(end.channel) else {
                    return Err(self.broken(end.channel, "is put out and is not in the channel".into()));
                };
                self.story.stays[stay].left = Some((place, at));
                self.story.put_out.push(end.code);
            }
            Frame::Connected(connected) => {
                let user = connected.user.map(ToString::to_string);
                // An old client may ask again, as nobody then.
                self.story.name.get_or_insert_with(|| (connected.connection_id.into(), user));
            }
            Frame::Presence(presence) => return self.saw(place, at, &presence),
            Frame::Disconnect(_) | Frame::Ping { .. } | Frame::Pong { .. } => {}
            _ => {
                return Err(Broken::new("frames", "", format!("client {no} got {frame:?}")));
            }
        }
        Ok(())
    }

    fn saw(&mut self, place: usize, at: u64, frame: &Presence<'_>) -> Result<(), Broken> {
        let members = frame.members.map(|members| members.iter().collect::<Vec<_>>());
        let changes = frame.changes.map(|changes| changes.iter().collect::<Vec<_>>());
        let asked = self.ids.get(&frame.id).map(|&request| &self.story.requests[request]);
        let what = match (frame.action, asked, members, changes, frame.client) {
            (PresenceAction::Sync, Some(asked), Some(members), None, None)
                if asked.wish == Wish::Presence(frame.action) =>
            {
                let members: Vec<SeenMember> = members.iter().map(SeenMember::new).collect();
                if !members.is_sorted() {
                    return Err(self.broken(frame.channel, format!("got members in no order: {members:?}")));
                }
                Seen::Page { members, whole: asked.from_start && frame.next.is_none() }
            }
            (PresenceAction::Count, Some(asked), None, None, None)
                if asked.wish == Wish::Presence(frame.action) =>
            {
                Seen::Count
            }
            (PresenceAction::Update, None, None, Some(changes), None) if frame.id == 0 => {
                let changes = changes.iter().map(|change| Some((change.action?, SeenMember::new(change))));
                let Some(changes) = changes.collect() else {
                    return Err(self.broken(frame.channel, "got a change that says nothing".into()));
                };
                Seen::Changes(changes)
            }
            (action, None, None, None, Some(client)) if frame.id == 0 => {
                let member = Member { action: None, client, user: frame.user, data: frame.data };
                Seen::Changes([(action, SeenMember::new(&member))].into())
            }
            _ => return Err(self.broken(frame.channel, format!("got a strange frame {frame:?}"))),
        };
        if frame.id == 0 && !self.inside.contains_key(frame.channel) {
            return Err(self.broken(frame.channel, format!("is told {what:?} and is not in the channel")));
        }
        let (Some(clients), Some(users)) = (frame.clients, frame.users) else {
            return Err(self.broken(frame.channel, "is told of members and not how many".into()));
        };
        self.story.sights.push(Sight { place, at, channel: frame.channel.into(), what, clients, users });
        if frame.id == 0 { Ok(()) } else { self.answer(frame.id, Answer { got: (place, at), code: None }) }
    }

    fn page(&mut self, place: usize, at: u64, page: &History<'_>) -> Result<(), Broken> {
        self.answer(page.id, Answer { got: (place, at), code: None })?;
        let asked = &self.story.requests[self.ids[&page.id]];
        let (channel, asked_at) = (asked.channel.clone(), asked.sent.1);
        let (Some(epoch), Some(top), Some(list)) = (page.epoch, page.offset, page.publications) else {
            return Err(self.broken(&channel, "got a page without its position".into()));
        };
        let items = list.iter().map(|item| Some((item.offset?, Mark::read(item.payload)?.0)));
        let Some(publications) = items.collect::<Option<Vec<(u64, Mark)>>>() else {
            return Err(self.broken(&channel, "got a page of what nobody published".into()));
        };
        let follow = |pair: &[(u64, Mark)]| pair[0].0.abs_diff(pair[1].0) == 1;
        let since = asked.since.as_ref().map_or(0, |(_, since)| *since);
        let within = publications.iter().all(|(number, _)| (since + 1..=top).contains(number));
        if asked.wish != Wish::History || !publications.windows(2).all(follow) || !within {
            let text = format!("got a page with {publications:?} of {top} for {asked:?}");
            return Err(self.broken(&channel, text));
        }
        self.story.pages.push(Page { channel, asked_at, epoch: epoch.into(), top, publications });
        Ok(())
    }

    fn answer(&mut self, id: u64, answer: Answer) -> Result<(), Broken> {
        let no = self.story.no;
        let Some(&request) = self.ids.get(&id) else {
            return Err(Broken::new("answers", "", format!("client {no} got an answer to {id}: {answer:?}")));
        };
        let asked = &mut self.story.requests[request];
        if asked.answer.is_some() {
            let text = format!("client {no} got two answers to {asked:?}: also {answer:?}");
            return Err(Broken::new("answers", &asked.channel, text));
        }
        asked.answer = Some(answer);
        if answer.code.is_none() {
            let channel = asked.channel.clone();
            match asked.wish {
                Wish::Subscribe => {
                    self.inside.insert(channel.clone(), self.story.stays.len());
                    let (asked, acked) = (asked.sent, answer.got);
                    let (received, gaps) = (Vec::new(), Vec::new());
                    self.story.stays.push(Stay {
                        channel,
                        asked,
                        acked,
                        left: None,
                        over: None,
                        received,
                        gaps,
                        steps: Vec::new(),
                    });
                }
                Wish::Unsubscribe => {
                    self.inside.remove(&channel);
                }
                Wish::Publish { .. } | Wish::Presence(_) | Wish::History | Wish::Unavailable => {}
            }
        }
        Ok(())
    }

    fn broken(&self, channel: &str, text: String) -> Broken {
        Broken::new("delivery", channel, format!("client {} {text}", self.story.no))
    }
}
