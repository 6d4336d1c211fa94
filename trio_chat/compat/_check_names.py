"""The names that the checks look for."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# ---------------------------------------------------------------------- channels

CALLBACKS = _words(
    """collect_incoming_data found_terminator handle_connect handle_accept handle_accepted handle_close handle_error
    handle_expt push push_with_producer close close_when_done log log_info"""
)
#: What asyncore's loop called of channels, and `trio_chat.compat` calls as well.
LOOP_METHODS = _words(
    """readable writable send recv initiate_send handle_read handle_write handle_read_event handle_write_event
    add_channel set_socket"""
)
DEAD_METHODS = _words("refill_buffer handle_connect_event handle_expt_event")
SET_UP = _words("create_socket connect bind listen set_socket")
SOCKET_METHODS = _words(
    """recv send sendall close shutdown fileno getpeername getsockname getsockopt setsockopt setblocking settimeout
    gettimeout"""
)
#: What a loop that flushes the queue asks, and what it calls.
QUEUE_STATES = _words("producer_fifo writable queued_bytes ac_out_buffer out_buffer")
SENDING_STEPS = _words("initiate_send handle_write")
GONE = _words("ac_out_buffer fifo out_buffer")
STATE = _words("ac_in_buffer producer_fifo terminator")
FIFO_METHODS = _words("first push is_empty")
SIZES = _words("ac_in_buffer_size ac_out_buffer_size")

#: What smtpd's servers call besides.
SMTP_CALLBACKS = _words("process_message")

#: Methods by which others touch a channel.
CHANNEL_METHODS = _words(
    "push push_with_producer close_when_done set_terminator discard_buffers close handle_close send"
)
#: Those of them that any thread may call: test_another_thread_… in tests/compat/test_channel_others.py see to it.
FROM_ANY_THREAD = _words("push push_with_producer close_when_done close")
#: Those of them that hardly anything else has.
TELLING_METHODS = _words("push_with_producer close_when_done set_terminator discard_buffers")

#: asyncore's names, with the codes of those that are more than a name.
OF_ASYNCORE = {
    **dict.fromkeys(_words("loop poll poll2 poll3 read write readwrite"), "TC201"),
    "socket_map": "TC202",
    "close_all": "TC203",
    "ExitNow": "TC204",
    "compact_traceback": "TC205",
    "file_dispatcher": "TC106",
    "file_wrapper": "TC106",
}
#: What else it has. Another name is not its: a module of the program has its name, too.
MORE_OF_ASYNCORE = _words(
    """dispatcher dispatcher_with_send errno errorcode os select socket sys time warnings EAGAIN EALREADY EBADF
    ECONNABORTED ECONNRESET EINPROGRESS EINVAL EISCONN ENOTCONN EPIPE ESHUTDOWN EWOULDBLOCK _DISCONNECTED _exception
    _strerror _reraised_exceptions"""
)
SELECTS = _words(
    """select.select select.poll select.epoll select.kqueue selectors.DefaultSelector selectors.SelectSelector
    selectors.PollSelector selectors.EpollSelector selectors.KqueueSelector"""
)

# ---------------------------------------------------------------------- threads

#: What starts threads, with the place of the function that is given.
THREADS = {"threading.Thread": 1, "threading.Timer": 1, "_thread.start_new_thread": 0, "thread.start_new_thread": 0}
POOL_METHODS = {"submit": 0, "apply_async": 0, "map_async": 0, "run_in_executor": 1}

# ---------------------------------------------------------------------- waiting

BLOCKING = _words(
    """time.sleep input raw_input getpass.getpass os.system os.popen os.wait os.waitpid
    subprocess.run subprocess.call subprocess.check_call subprocess.check_output subprocess.getoutput
    subprocess.getstatusoutput commands.getoutput commands.getstatusoutput
    socket.create_connection socket.gethostbyname socket.gethostbyname_ex socket.gethostbyaddr socket.getaddrinfo
    socket.getfqdn socket.getnameinfo dns.resolver.query dns.resolver.resolve select.select
    urllib.request.urlopen urllib.request.urlretrieve urllib.urlopen urllib2.urlopen
    requests.get requests.post requests.put requests.patch requests.delete requests.head requests.options
    requests.request httpx.get httpx.post httpx.put httpx.request
    sqlite3.connect psycopg2.connect psycopg.connect MySQLdb.connect pymysql.connect mysql.connector.connect
    cx_Oracle.connect oracledb.connect pyodbc.connect pymssql.connect ldap.initialize"""
)
#: Classes whose construction connects if it is given an address.
CONNECTING = _words(
    """smtplib.SMTP smtplib.SMTP_SSL smtplib.LMTP ftplib.FTP ftplib.FTP_TLS imaplib.IMAP4 imaplib.IMAP4_SSL
    poplib.POP3 poplib.POP3_SSL telnetlib.Telnet nntplib.NNTP"""
)
LOCKS = _words(
    """threading.Lock threading.RLock threading.Semaphore threading.BoundedSemaphore threading.Condition
    multiprocessing.Lock _thread.allocate_lock"""
)
_QUEUES = _words("queue.Queue queue.LifoQueue queue.PriorityQueue queue.SimpleQueue Queue.Queue multiprocessing.Queue")
_HTTP = _words("http.client.HTTPConnection http.client.HTTPSConnection httplib.HTTPConnection")
#: Which methods of what wait.
WAITING_METHODS: dict[str, frozenset[str]] = {
    **dict.fromkeys(LOCKS, _words("acquire wait")),
    **dict.fromkeys(_QUEUES, _words("get join")),
    **dict.fromkeys(_HTTP, _words("connect request getresponse")),
    **dict.fromkeys(_words("smtplib.SMTP smtplib.SMTP_SSL"), _words("connect ehlo helo login starttls sendmail quit")),
    **dict.fromkeys(_words("ftplib.FTP ftplib.FTP_TLS"), _words("connect login retrbinary retrlines storbinary nlst")),
    "threading.Event": _words("wait"),
    "threading.Thread": _words("join"),
    "subprocess.Popen": _words("wait communicate"),
    "socket.socket": _words("connect accept recv recv_into recvfrom sendall"),
    "requests.Session": _words("get post put patch delete head options request send"),
}
OPENS = _words("open io.open codecs.open")
READS = _words("read readline readlines")
EXITS = _words("sys.exit os._exit os.abort exit quit")

# ---------------------------------------------------------------------- text and bytes

#: Methods that give the same kind of string as they are called on.
SAME = _words(
    """strip lstrip rstrip lower upper title capitalize swapcase replace ljust rjust center zfill expandtabs
    translate removeprefix removesuffix join"""
)
SPLITS = _words("split rsplit splitlines partition rpartition")
#: Methods that take the kind of string which they are called on.
TAKES_SAME = _words(
    """startswith endswith find rfind index rindex count split rsplit partition rpartition strip lstrip rstrip
    replace removeprefix removesuffix join"""
)
GIVES_TEXT = _words("str repr ascii chr hex oct bin format input unicode json.dumps time.ctime time.strftime")
