"""The keys of a fleet in Redis, and the scripts that change them: each all or nothing.

All keys share one hash tag, so that they are on one node of a cluster. Scripts that must run in a
full Redis have the flag ``allow-oom``: otherwise leases would expire, and nothing could make room.
Redis rejects a script without it before its first write.
"""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["DONE", "FREE", "INTAKE", "LEASE", "RIGHTS", "SHORT", "Keys", "Script"]

SHORT: Final = 16
"""The bytes of the digest that is kept for each batch."""


class Keys:
    """The names of a fleet's keys.

    Args:
        name: the fleet's.
        partitions: the number of its streams.
    """

    def __init__(self, name: str, partitions: int) -> None:
        prefix = f"{{{name}}}:"
        self.prefix: str = prefix
        self.config: str = prefix + "config"
        """The settings that all relays of the fleet share."""
        self.secret: str = prefix + "secret"
        """The secret that signs the relays' tokens."""
        self.members: str = prefix + "members"
        """The relays that are alive, each with the time of its last sign of life."""
        self.counts: str = prefix + "counts"
        """The number of events that wait, for each partition."""
        self.rejected: str = prefix + "rejected"
        """Dead letters."""
        numbers = range(partitions)
        self.streams: list[str] = [f"{prefix}stream:{n}" for n in numbers]
        """The events; an entry holds events of one batch."""
        self.leases: list[str] = [f"{prefix}lease:{n}" for n in numbers]
        """The token of the relay that delivers a partition."""
        self.done: list[str] = [f"{prefix}done:{n}" for n in numbers]
        """The events that have ended in entries that have not, by the entries' ids."""

    def commands(self) -> list[list[str]]:
        """Each command of a relay once, with a key that it uses it for, but for EVAL, EVALSHA and
        INFO, with which it starts."""
        counts, members, rejected, config = self.counts, self.members, self.rejected, self.config
        stream, lease, done = self.streams[0], self.leases[0], self.done[0]
        return [
            ["DEL", lease],
            ["GET", self.secret],
            ["HDEL", done],
            ["HGET", done],
            ["HGETALL", config],
            ["HINCRBY", counts],
            ["HSET", done],
            ["HSETNX", config],
            ["HVALS", counts],
            ["PEXPIRE", lease],
            ["SET", self.batch(b"", "")],
            ["TIME"],
            ["TYPE", stream],
            ["XADD", stream],
            ["XDEL", stream],
            ["XLEN", rejected],
            ["XRANGE", stream],
            ["XREAD", "STREAMS", stream, "0"],
            ["XTRIM", rejected],
            ["ZADD", members],
            ["ZRANGE", members],
            ["ZREM", members],
            ["ZREMRANGEBYSCORE", members],
        ]

    def batch(self, account: bytes, key: str) -> str:
        """The key of a batch's digest: short, as there may be millions."""
        name = hashlib.blake2b(account + key.encode(), digest_size=SHORT).hexdigest()
        return f"{self.prefix}batch:{name}"


_CHECK: Final = """\
-- A script that breaks off is not rolled back: what could break it off is looked at first.
local function wrong(key, kind)
  local found = redis.call('TYPE', key).ok
  if found == kind or found == 'none' then return nil end
  return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. kind)
end
"""


class Script:
    """A script in Lua.

    Args:
        text: the script.
    """

    def __init__(self, text: str) -> None:
        first, _, rest = text.partition("\n")
        self.text: str = f"{first}\n{_CHECK}{rest}"
        self.sha: str = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        """Its name in Redis."""


INTAKE: Final = Script("""#!lua
-- Keep a batch.
-- KEYS: digest, counts, streams. ARGV: the batch's digest or '', seconds to remember it, time; then
-- for each entry: partition, number of events, the events.
local digest = ARGV[1]
if digest ~= '' then
  local known = redis.call('GET', KEYS[1])
  if known then return known == digest and 'repeated' or 'conflict' end
end
local found = wrong(KEYS[2], 'hash')
for at = 4, #ARGV, 3 do found = found or wrong(KEYS[3 + ARGV[at]], 'stream') end
if found then return found end
for at = 4, #ARGV, 3 do
  local partition = tonumber(ARGV[at])
  redis.call('XADD', KEYS[3 + partition], '*', 't', ARGV[3], 'e', ARGV[at + 2])
  redis.call('HINCRBY', KEYS[2], partition, ARGV[at + 1])
end
if digest ~= '' then redis.call('SET', KEYS[1], digest, 'EX', ARGV[2]) end
return 'stored'
""")

DONE: Final = Script("""#!lua flags=allow-oom
-- Remove events that have their outcome, and keep those of them that were rejected, unless another
-- relay has the partition now. Carried out already, as its reply was lost: nothing is changed; the
-- field # of done holds the last attempt that succeeded.
-- KEYS: lease, stream, done, counts, rejected. ARGV: lease's token, attempt, partition, number of
-- events, the most dead letters, id of the oldest to be kept; then number of dead letters, and for
-- each: time, reason, status, event; number of entries that are done, their ids; then for each
-- entry that is done in part: id, and a hexadecimal number whose bit n says that event n is done.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if redis.call('HGET', KEYS[3], '#') == ARGV[2] then return 0 end
local found = wrong(KEYS[2], 'stream') or wrong(KEYS[4], 'hash') or wrong(KEYS[5], 'stream')
if found then return found end
local at = 8
local dropped = 0
local letters = tonumber(ARGV[7])
for _ = 1, letters do
  redis.call('XADD', KEYS[5], '*', 'a', ARGV[at], 'r', ARGV[at + 1], 's', ARGV[at + 2],
    'e', ARGV[at + 3])
  at = at + 4
end
if letters > 0 then
  dropped = redis.call('XTRIM', KEYS[5], 'MAXLEN', ARGV[5])
  redis.call('XTRIM', KEYS[5], 'MINID', ARGV[6])
end
local entries = tonumber(ARGV[at])
local first = at + 1
at = first + entries
while first < at do
  local last = math.min(first + 999, at - 1)
  redis.call('XDEL', KEYS[2], unpack(ARGV, first, last))
  redis.call('HDEL', KEYS[3], unpack(ARGV, first, last))
  first = last + 1
end
while at < #ARGV do
  redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
  at = at + 2
end
redis.call('HSET', KEYS[3], '#', ARGV[2])
redis.call('HINCRBY', KEYS[4], ARGV[3], -tonumber(ARGV[4]))
return dropped
""")

LEASE: Final = Script("""#!lua flags=allow-oom
-- Say that a relay is alive, renew its leases and take what is free, up to its fair share.
-- KEYS: members, leases. ARGV: relay, milliseconds, token for what it takes or '' to take nothing;
-- then for each partition the token that it holds, or ''. Returns its share, then the token for
-- each partition, or ''.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
local relays = redis.call('ZRANGE', KEYS[1], 0, -1)
table.sort(relays)
local rank = 0
for number, relay in ipairs(relays) do
  if relay == ARGV[1] then rank = number end
end
local partitions = #KEYS - 1
local share = math.floor(partitions / #relays)
if rank <= partitions % #relays then share = share + 1 end
local reply = {share}
local held = 0
local free = {}
for number = 1, partitions do
  local token = redis.call('GET', KEYS[1 + number])
  local mine = token and string.sub(token, 1, #ARGV[1]) == ARGV[1]
  reply[1 + number] = ''
  if mine and token == ARGV[3 + number] then
    redis.call('PEXPIRE', KEYS[1 + number], ARGV[2])
    reply[1 + number] = token
    held = held + 1
  elseif mine or not token then  -- mine: the reply in which it was given was lost
    free[#free + 1] = number
  end
end
for _, number in ipairs(free) do
  if held < share and ARGV[3] ~= '' then
    redis.call('SET', KEYS[1 + number], ARGV[3], 'PX', ARGV[2])
    reply[1 + number] = ARGV[3]
    held = held + 1
  end
end
return reply
""")

RIGHTS: Final = Script("""#!lua flags=no-writes
-- Return those of a relay's commands that its user may not call with the fleet's keys: a script
-- that calls one would break off. ARGV: each as a JSON array of its words.
local missing = {}
for _, words in ipairs(ARGV) do
  words = cjson.decode(words)
  if not redis.acl_check_cmd(unpack(words)) then missing[#missing + 1] = words[1] end
end
return missing
""")

FREE: Final = Script("""#!lua flags=allow-oom
-- Give leases up. KEYS: members, leases. ARGV: the relay if it leaves or '', a token for each.
if ARGV[1] ~= '' then redis.call('ZREM', KEYS[1], ARGV[1]) end
for number = 2, #KEYS do
  if redis.call('GET', KEYS[number]) == ARGV[number] then redis.call('DEL', KEYS[number]) end
end
return 0
""")
