# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Hot loops of the interceptor of DNS queries: what is read, looked at and sent for every datagram.

A query that is for nobody here goes to a name server, and the answer back, without a Python object
but those that remember it. Whatever is not ordinary is handed to the callers' functions, which are
Python. `hipgw.naming.dns.octets` has what is looked at in Python; the tests hold both together.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from "<sys/socket.h>":
    ctypedef unsigned int socklen_t
    ctypedef unsigned short sa_family_t
    struct sockaddr:
        sa_family_t sa_family
    struct sockaddr_storage:
        sa_family_t ss_family
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    int AF_INET, AF_INET6, MSG_DONTWAIT, MSG_NOSIGNAL
    int recvmmsg(int fd, mmsghdr* messages, unsigned int count, int flags, timespec* timeout)
    int sendmmsg(int fd, mmsghdr* messages, unsigned int count, int flags)
    ssize_t send(int fd, const void* data, size_t length, int flags)
    ssize_t sendto(int fd, const void* data, size_t length, int flags, const sockaddr* to, socklen_t)

cdef extern from "<arpa/inet.h>":
    const char* inet_ntop(int family, const void* address, char* text, socklen_t size)

ctypedef const unsigned char* Octets

cdef enum:
    HEADER_LENGTH = 12
    CLASS_AND_TYPE_LENGTH = 4
    LABEL_MAX = 63
    QR = 0x80
    OPCODE = 0x78
    RCODE = 0x0F
    # RFC 1035 4.1.1: places in the header.
    FLAGS = 2
    RCODE_AT = 3
    QUESTIONS = 4
    # Of struct sockaddr_in and sockaddr_in6, where the address stands.
    ADDRESS_V4 = 4
    ADDRESS_V6 = 8
    ADDRESS_V6_LENGTH = 16
    ADDRESS_TEXT_MAX = 64
    # No datagram is longer: none is ever cut.
    SLOT = 65536
    # Datagrams that are read before others get their turn.
    BATCH = 32
    DRAWS = 1024


# -- what is looked at in a message ------------------------------------------------------------------


cdef inline unsigned char _small(unsigned char octet) noexcept nogil:
    return octet | 0x20 if 0x41 <= octet <= 0x5A else octet


cdef inline bint _is_plain_query(Octets data, Py_ssize_t size) noexcept nogil:
    return (
        size > HEADER_LENGTH
        and not data[FLAGS] & (QR | OPCODE)
        and data[QUESTIONS] == 0
        and data[QUESTIONS + 1] == 1
    )


cdef bint _asks_below(Octets data, Py_ssize_t size, Octets suffix, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t at = HEADER_LENGTH, n
    if not _is_plain_query(data, size):
        return False
    while at < size:
        if length <= size - at:
            n = 0
            while n < length and _small(data[at + n]) == suffix[n]:
                n += 1
            if n == length:
                return True
        if not 0 < data[at] <= LABEL_MAX:
            return False
        at += 1 + data[at]
    return False


cdef bint _answers(Octets data, Py_ssize_t size, Octets query, Py_ssize_t length) noexcept nogil:
    """Whether *data* answers *query*, which has a header at least."""
    if size < HEADER_LENGTH or not data[FLAGS] & QR:
        return False
    if data[QUESTIONS] == 0 and data[QUESTIONS + 1] == 0:
        return data[RCODE_AT] & RCODE != 0
    cdef Octets end = <Octets> memchr(query + HEADER_LENGTH, 0, length - HEADER_LENGTH)
    cdef Py_ssize_t until = HEADER_LENGTH
    if end != NULL:
        until = min(end - query + 1 + CLASS_AND_TYPE_LENGTH, length)
    if size < until:
        return False
    cdef Py_ssize_t at
    for at in range(HEADER_LENGTH, until):
        if data[at] != query[at] and _small(data[at]) != _small(query[at]):
            return False
    return True


def asks_below(bytes data not None, bytes suffix not None):
    """`hipgw.naming.dns.octets.asks_below`; the suffix is in small letters."""
    return _asks_below(
        <Octets> PyBytes_AS_STRING(data),
        PyBytes_GET_SIZE(data),
        <Octets> PyBytes_AS_STRING(suffix),
        PyBytes_GET_SIZE(suffix),
    )


def answers(bytes data not None, bytes query not None):
    """Whether *data* is an answer to *query*; ValueError for one without a header."""
    if PyBytes_GET_SIZE(query) < HEADER_LENGTH:
        raise ValueError("a query has a header")
    return _answers(
        <Octets> PyBytes_AS_STRING(data),
        PyBytes_GET_SIZE(data),
        <Octets> PyBytes_AS_STRING(query),
        PyBytes_GET_SIZE(query),
    )


cdef inline double _monotonic() noexcept:
    """The time of the loop, in seconds."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


# -- clients, and queries under way -------------------------------------------------------------------


cdef bint _is_loopback(bytes client) noexcept:
    """Whether a socket address is in 127.0.0.0/8, or ::1."""
    cdef Octets octets = <Octets> PyBytes_AS_STRING(client)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(client)
    cdef int family = (<const sockaddr*> octets).sa_family
    if family == AF_INET and size >= ADDRESS_V4 + 4:
        return octets[ADDRESS_V4] == 127
    if family == AF_INET6 and size >= ADDRESS_V6 + ADDRESS_V6_LENGTH:
        return memcmp(octets + ADDRESS_V6, b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", ADDRESS_V6_LENGTH) == 0
    return False


def host_of(bytes client not None):
    """The address in a client's socket address as text; "" if it is none of IP."""
    cdef char text[ADDRESS_TEXT_MAX]
    cdef Octets octets = <Octets> PyBytes_AS_STRING(client)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(client)
    cdef int family = (<const sockaddr*> octets).sa_family if size >= ADDRESS_V4 else 0
    cdef const char* found = NULL
    if family == AF_INET and size >= ADDRESS_V4 + 4:
        found = inet_ntop(family, octets + ADDRESS_V4, text, ADDRESS_TEXT_MAX)
    elif family == AF_INET6 and size >= ADDRESS_V6 + ADDRESS_V6_LENGTH:
        found = inet_ntop(family, octets + ADDRESS_V6, text, ADDRESS_TEXT_MAX)
    return found.decode("ascii") if found != NULL else ""


@cython.final
@cython.freelist(256)
cdef class Pending:
    """A query under way: what was asked, by whom, until when a server has time, which try it is."""

    cdef readonly bytes query
    cdef readonly bytes client
    cdef public double due
    cdef public int attempt

    def __init__(self, bytes query not None, bytes client not None, double due):
        if PyBytes_GET_SIZE(query) < HEADER_LENGTH:
            raise ValueError("a query has a header")
        self.query = query
        self.client = client
        self.due = due
        self.attempt = 0


@cython.final
cdef class Port:
    """One socket of our own, connected to a server, and the queries that left by it."""

    cdef readonly object sock
    cdef readonly int server
    cdef readonly double until
    cdef readonly dict pending
    cdef public int left
    cdef int fd

    def __init__(self, sock, int server, double until, int left):
        self.sock = sock
        self.fd = sock.fileno()
        self.server = server
        self.until = until
        self.left = left
        self.pending = {}

    def close(self):
        """Close the socket; the queries are the caller's."""
        self.fd = -1
        self.sock.close()


# -- datagrams ----------------------------------------------------------------------------------------


cdef class _Batch:
    """Room for datagrams that are read at once, and for those that are sent at once."""

    cdef unsigned char* octets
    cdef sockaddr_storage* names
    cdef iovec* places
    cdef mmsghdr* read
    cdef iovec* sources
    cdef mmsghdr* written
    cdef list held
    """The clients, and octets that are sent, as long as the kernel is not done with them."""
    cdef int queued
    cdef unsigned int wanted
    """How many are read at once. As many as came: asking for one more than there are costs as much
    as reading one, and if there are more, the loop says so."""

    def __cinit__(self):
        # Of the large room, only what datagrams really fill ever becomes memory.
        self.octets = <unsigned char*> malloc(BATCH * SLOT)
        self.names = <sockaddr_storage*> calloc(BATCH, sizeof(sockaddr_storage))
        self.places = <iovec*> calloc(BATCH, sizeof(iovec))
        self.read = <mmsghdr*> calloc(BATCH, sizeof(mmsghdr))
        self.sources = <iovec*> calloc(BATCH, sizeof(iovec))
        self.written = <mmsghdr*> calloc(BATCH, sizeof(mmsghdr))
        if not (self.octets and self.names and self.places and self.read and self.sources and self.written):
            raise MemoryError
        cdef int n
        for n in range(BATCH):
            self.places[n].iov_base = self.octets + n * SLOT
            self.places[n].iov_len = SLOT
            self.read[n].msg_hdr.msg_iov = &self.places[n]
            self.read[n].msg_hdr.msg_iovlen = 1
            self.written[n].msg_hdr.msg_iov = &self.sources[n]
            self.written[n].msg_hdr.msg_iovlen = 1
        self.held = []
        self.wanted = 1

    def __dealloc__(self):
        free(self.octets)
        free(self.names)
        free(self.places)
        free(self.read)
        free(self.sources)
        free(self.written)

    cdef int receive(self, int fd, bint named) noexcept:
        """Read what is there: how many, or less than zero for the error's number."""
        # System calls that do not wait: letting go of the GIL would cost more than it gives.
        cdef unsigned int n
        cdef int count
        self.queued = 0
        for n in range(self.wanted):
            self.read[n].msg_hdr.msg_name = &self.names[n] if named else NULL
            self.read[n].msg_hdr.msg_namelen = sizeof(sockaddr_storage) if named else 0
        count = recvmmsg(fd, self.read, self.wanted, MSG_DONTWAIT, NULL)
        if count < 0:
            return 0 if errno == EAGAIN or errno == EINTR else -errno
        self.wanted = min(2 * self.wanted, BATCH) if count == <int> self.wanted else max(count, 1)
        return count

    cdef inline unsigned char* data(self, int n) noexcept:
        return self.octets + n * SLOT

    cdef inline Py_ssize_t size(self, int n) noexcept:
        return self.read[n].msg_len

    cdef inline bytes copy(self, int n):
        return PyBytes_FromStringAndSize(<char*> self.data(n), self.size(n))

    cdef inline bytes client(self, int n):
        return PyBytes_FromStringAndSize(<char*> &self.names[n], self.read[n].msg_hdr.msg_namelen)

    cdef int queue(self, bytes client, const void* data, Py_ssize_t size) except -1:
        """To be sent by `flush`; at most as many as were received."""
        cdef int n = self.queued
        self.held.append(client)
        self.sources[n].iov_base = <void*> data
        self.sources[n].iov_len = size
        self.written[n].msg_hdr.msg_name = PyBytes_AS_STRING(client)
        self.written[n].msg_hdr.msg_namelen = <socklen_t> PyBytes_GET_SIZE(client)
        self.queued = n + 1
        return 0

    cdef int flush(self, int fd) except -1:
        """Send what is queued."""
        cdef int done = 0, sent
        while done < self.queued:
            sent = sendmmsg(fd, self.written + done, self.queued - done, MSG_DONTWAIT | MSG_NOSIGNAL)
            # Of several, the first one is what was refused: a client that does not wait any more,
            # or a full buffer. Those behind it may do.
            done += sent if sent > 0 else 1
        self.queued = 0
        self.held.clear()
        return 0


@cython.final
cdef class QueryPath:
    """The way of queries from a socket that clients ask, through `Port`s, and back.

    One thread, never from within one of its own functions: the room for datagrams is one.
    """

    cdef public list ports
    """By which a query may leave now; as long as they are not `spread`, the callers see to it."""
    cdef public int waiting
    """Queries under way, on all ports together."""
    cdef readonly object sock
    cdef readonly object cache
    cdef readonly object statistics
    cdef bytes suffix
    cdef object allowed, look_up, forward, prefer, refused
    cdef double patience_s
    cdef int fd, spread, waiting_max
    cdef _Batch batch
    cdef bytes random
    cdef int drawn

    def __init__(self, sock, bytes suffix not None, cache, statistics, allowed, look_up):
        """*sock*: where clients ask, bound, not blocking; *suffix*: see `octets.suffix_octets`;
        *cache*: an `AnswerCache`, or None; *statistics*: `DnsStatistics`.

        *allowed(host)* tells whether others than this machine's loopback may ask;
        *look_up(query, client)* gets what asks below the suffix.
        """
        self.sock = sock
        self.fd = sock.fileno()
        self.suffix = suffix
        self.cache = cache
        self.statistics = statistics
        self.allowed = allowed
        self.look_up = look_up
        self.ports = []
        self.batch = _Batch()
        self.drawn = DRAWS

    def forward_by(self, forward, prefer, refused, int spread, int waiting_max, double patience_s):
        """*forward(query, client)* passes on what no port here takes; *prefer(server)* is told of
        a server that answered when others did not, *refused(port, error)* of what the system says
        instead of giving an answer, or a query (then the port is None).

        Ports are used as soon as there are *spread*, for *waiting_max* queries at a time, with
        *patience_s* for the first server.
        """
        if spread < 1:
            raise ValueError("at least one port")
        self.forward, self.prefer, self.refused = forward, prefer, refused
        self.spread, self.waiting_max, self.patience_s = spread, waiting_max, patience_s

    def close(self):
        """Close the socket that clients ask."""
        self.fd = -1
        self.sock.close()

    def draw(self):
        """32 bits from the kernel, fetched some thousand at a time."""
        return self._draw()

    cdef uint32_t _draw(self) except? 0:
        cdef uint32_t value
        if self.drawn >= DRAWS:
            self.random = os.urandom(DRAWS * sizeof(uint32_t))
            self.drawn = 0
        memcpy(&value, PyBytes_AS_STRING(self.random) + self.drawn * sizeof(uint32_t), sizeof(uint32_t))
        self.drawn += 1
        return value

    def reply(self, bytes client not None, bytes answer not None):
        """Send an answer to a client; returns 0, or the number of the error."""
        cdef Py_ssize_t sent
        cdef const void* data = PyBytes_AS_STRING(answer)
        cdef size_t size = PyBytes_GET_SIZE(answer)
        cdef const sockaddr* to = <const sockaddr*> PyBytes_AS_STRING(client)
        cdef socklen_t length = <socklen_t> PyBytes_GET_SIZE(client)
        sent = sendto(self.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL, to, length)
        return 0 if sent >= 0 else errno

    # -- from clients ------------------------------------------------------------------------------

    def receive_queries(self):
        """Read what clients ask and have it answered; the loop calls this when there is something.

        *refused* is told of an error.
        """
        cdef double now = _monotonic()
        cdef _Batch batch = self.batch
        cdef int count = batch.receive(self.fd, True), n, cached = 0, forwarded = 0
        cdef Octets data, suffix = <Octets> PyBytes_AS_STRING(self.suffix)
        cdef Py_ssize_t size, length = PyBytes_GET_SIZE(self.suffix)
        cdef bytes query, client
        if count < 0:
            self.refused(None, -count)
            return
        for n in range(count):
            data, size = batch.data(n), batch.size(n)
            if size < HEADER_LENGTH or data[FLAGS] & QR:
                continue
            client = batch.client(n)
            if not _is_loopback(client) and not self.allowed(host_of(client)):
                continue
            query = batch.copy(n)
            if _asks_below(data, size, suffix, length):
                self.look_up(query, client)
                continue
            if self.cache is not None:
                kept = self.cache.get(query, now)
                if kept is not None:
                    cached += 1
                    batch.held.append(kept)
                    batch.queue(client, PyBytes_AS_STRING(kept), PyBytes_GET_SIZE(kept))
                    continue
            if self._pass_on(n, query, client, now):
                forwarded += 1
            else:
                self.forward(query, client)
        if batch.queued:
            batch.flush(self.fd)
        if cached:
            self.statistics.cached += cached
        if forwarded:
            self.statistics.forwarded += forwarded

    cdef bint _pass_on(self, int n, bytes query, bytes client, double now) except -1:
        """Send the query in slot *n* by one of the ports, if that is all there is to do."""
        cdef list ports = self.ports
        if self.waiting >= self.waiting_max or len(ports) != self.spread:
            return False
        # Both of one draw: which port, and the transaction id.
        cdef uint32_t draw = self._draw()
        cdef Port port = ports[(draw >> 16) % <uint32_t> self.spread]
        if port.left <= 1:
            return False
        cdef int number = draw & 0xFFFF
        while number in port.pending:
            number = (number + 1) & 0xFFFF
        cdef unsigned char* data = self.batch.data(n)
        cdef size_t size = self.batch.size(n)
        cdef Py_ssize_t sent
        data[0] = number >> 8
        data[1] = number & 0xFF
        sent = send(port.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent < 0:
            return False
        cdef Pending pending = Pending.__new__(Pending)
        pending.query = query
        pending.client = client
        pending.due = now + self.patience_s
        pending.attempt = 0
        port.left -= 1
        port.pending[number] = pending
        self.waiting += 1
        return True

    # -- from servers ------------------------------------------------------------------------------

    def receive_answers(self, Port port not None):
        """Read what a server answers and pass it on; the loop calls this when there is something.

        What does not have an id of a query that left by this port, or another question, is
        counted alone. *refused* is told of an error.
        """
        cdef _Batch batch = self.batch
        cdef int count = batch.receive(port.fd, False), n, unasked = 0, answered = 0
        cdef unsigned char* data
        cdef Py_ssize_t size
        cdef Pending pending
        cdef Octets query
        cdef list kept = [] if self.cache is not None else None
        if count < 0:
            self.refused(port, -count)
            return
        for n in range(count):
            data, size = batch.data(n), batch.size(n)
            pending = None
            if size >= HEADER_LENGTH:
                number = (data[0] << 8) | data[1]
                pending = port.pending.get(number)
            if pending is None:
                unasked += 1
                continue
            query = <Octets> PyBytes_AS_STRING(pending.query)
            if not _answers(data, size, query, PyBytes_GET_SIZE(pending.query)):
                unasked += 1
                continue
            del port.pending[number]
            answered += 1
            if pending.attempt:
                self.prefer(port.server)
            if kept is not None and _is_plain_query(query, PyBytes_GET_SIZE(pending.query)):
                kept.append((pending.query, batch.copy(n)))
            data[0] = query[0]
            data[1] = query[1]
            batch.queue(pending.client, data, size)
        self.waiting -= answered
        if batch.queued:
            batch.flush(self.fd)
        if kept:
            # Later: who asked waits for none of this.
            now = _monotonic()
            for asked, answer in kept:
                self.cache.put(asked, answer, now)
        if answered:
            self.statistics.answered += answered
        if unasked:
            self.statistics.not_asked_for += unasked
