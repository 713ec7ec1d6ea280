package mysql

// Limits and sizes of the protocol.
const (
	// HeaderLen is the length of a packet header: three bytes of length, one of sequence.
	HeaderLen = 4
	// MaxPayload is the longest payload of one packet; a payload of exactly this
	// length is continued by the next packet.
	MaxPayload = 1<<24 - 1
	// NonceLen is the length of the authentication nonce of both plugins.
	NonceLen = 20
	// ProtocolVersion is the only handshake version still in use.
	ProtocolVersion = 10
)

// Capability is the set of flags each side declares in the connection phase.
type Capability uint32

// The capability flags, under the names of the protocol's documentation.
const (
	LongPassword     Capability = 1 << 0 // MariaDB reads it as "speaks plain MySQL"
	FoundRows        Capability = 1 << 1
	LongFlag         Capability = 1 << 2
	ConnectWithDB    Capability = 1 << 3
	NoSchema         Capability = 1 << 4
	Compress         Capability = 1 << 5
	ODBC             Capability = 1 << 6
	LocalFiles       Capability = 1 << 7
	IgnoreSpace      Capability = 1 << 8
	Protocol41       Capability = 1 << 9
	Interactive      Capability = 1 << 10
	SSL              Capability = 1 << 11
	IgnoreSigpipe    Capability = 1 << 12
	Transactions     Capability = 1 << 13
	Reserved         Capability = 1 << 14
	SecureConnection Capability = 1 << 15
	MultiStatements  Capability = 1 << 16
	MultiResults     Capability = 1 << 17
	PSMultiResults   Capability = 1 << 18
	PluginAuth       Capability = 1 << 19
	ConnectAttrs     Capability = 1 << 20
	PluginAuthLenenc Capability = 1 << 21
	HandleExpired    Capability = 1 << 22
	SessionTrack     Capability = 1 << 23
	DeprecateEOF     Capability = 1 << 24
	OptionalMetadata Capability = 1 << 25
	ZstdCompress     Capability = 1 << 26
	QueryAttributes  Capability = 1 << 27
	MultiFactor      Capability = 1 << 28
	CapabilityExt    Capability = 1 << 29
	SSLVerify        Capability = 1 << 30
	RememberOptions  Capability = 1 << 31
)

// Has reports whether every flag of f is set.
func (c Capability) Has(f Capability) bool { return c&f == f }

// Status is the server status carried by OK and EOF packets.
type Status uint16

// The status flags.
const (
	StatusInTransaction     Status = 1 << 0
	StatusAutocommit        Status = 1 << 1
	StatusMoreResults       Status = 1 << 3
	StatusNoGoodIndex       Status = 1 << 4
	StatusNoIndex           Status = 1 << 5
	StatusCursorExists      Status = 1 << 6
	StatusLastRowSent       Status = 1 << 7
	StatusDBDropped         Status = 1 << 8
	StatusNoBackslashEscape Status = 1 << 9
	StatusMetadataChanged   Status = 1 << 10
	StatusSlow              Status = 1 << 11
	StatusOutParams         Status = 1 << 12
	StatusReadOnlyTrans     Status = 1 << 13
	StatusSessionChanged    Status = 1 << 14
	StatusANSIQuotes        Status = 1 << 15 // MariaDB's
)

// Has reports whether every flag of f is set.
func (s Status) Has(f Status) bool { return s&f == f }

// Command is the first byte of a command packet.
type Command byte

// The commands.
const (
	ComSleep           Command = 0x00
	ComQuit            Command = 0x01
	ComInitDB          Command = 0x02
	ComQuery           Command = 0x03
	ComFieldList       Command = 0x04
	ComCreateDB        Command = 0x05
	ComDropDB          Command = 0x06
	ComRefresh         Command = 0x07
	ComShutdown        Command = 0x08
	ComStatistics      Command = 0x09
	ComProcessInfo     Command = 0x0a
	ComConnect         Command = 0x0b
	ComProcessKill     Command = 0x0c
	ComDebug           Command = 0x0d
	ComPing            Command = 0x0e
	ComTime            Command = 0x0f
	ComDelayedInsert   Command = 0x10
	ComChangeUser      Command = 0x11
	ComBinlogDump      Command = 0x12
	ComTableDump       Command = 0x13
	ComConnectOut      Command = 0x14
	ComRegisterSlave   Command = 0x15
	ComStmtPrepare     Command = 0x16
	ComStmtExecute     Command = 0x17
	ComStmtLongData    Command = 0x18
	ComStmtClose       Command = 0x19
	ComStmtReset       Command = 0x1a
	ComSetOption       Command = 0x1b
	ComStmtFetch       Command = 0x1c
	ComDaemon          Command = 0x1d
	ComBinlogDumpGTID  Command = 0x1e
	ComResetConnection Command = 0x1f
	ComClone           Command = 0x20
	ComStmtBulkExecute Command = 0xfa // MariaDB only
)

var commandNames = map[Command]string{
	ComSleep: "Sleep", ComQuit: "Quit", ComInitDB: "Init DB", ComQuery: "Query", ComFieldList: "Field List",
	ComCreateDB: "Create DB", ComDropDB: "Drop DB", ComRefresh: "Refresh", ComShutdown: "Shutdown",
	ComStatistics: "Statistics", ComProcessInfo: "Processlist", ComConnect: "Connect", ComProcessKill: "Kill",
	ComDebug: "Debug", ComPing: "Ping", ComTime: "Time", ComDelayedInsert: "Delayed insert",
	ComChangeUser: "Change user", ComBinlogDump: "Binlog Dump", ComTableDump: "Table Dump",
	ComConnectOut: "Connect Out", ComRegisterSlave: "Register Replica", ComStmtPrepare: "Prepare",
	ComStmtExecute: "Execute", ComStmtLongData: "Long Data", ComStmtClose: "Close stmt",
	ComStmtReset: "Reset stmt", ComSetOption: "Set option", ComStmtFetch: "Fetch", ComDaemon: "Daemon",
	ComBinlogDumpGTID: "Binlog Dump GTID", ComResetConnection: "Reset Connection", ComClone: "Clone",
	ComStmtBulkExecute: "Bulk Execute",
}

// String is the server's own name of the command, as its process list shows it.
func (c Command) String() string {
	if n, ok := commandNames[c]; ok {
		return n
	}
	return "Unknown"
}

// FieldType is a column's type in column definitions, binary rows and parameters.
type FieldType byte

// The field types.
const (
	TypeDecimal    FieldType = 0x00
	TypeTiny       FieldType = 0x01
	TypeShort      FieldType = 0x02
	TypeLong       FieldType = 0x03
	TypeFloat      FieldType = 0x04
	TypeDouble     FieldType = 0x05
	TypeNull       FieldType = 0x06
	TypeTimestamp  FieldType = 0x07
	TypeLongLong   FieldType = 0x08
	TypeInt24      FieldType = 0x09
	TypeDate       FieldType = 0x0a
	TypeTime       FieldType = 0x0b
	TypeDatetime   FieldType = 0x0c
	TypeYear       FieldType = 0x0d
	TypeNewDate    FieldType = 0x0e
	TypeVarchar    FieldType = 0x0f
	TypeBit        FieldType = 0x10
	TypeVector     FieldType = 0xf2
	TypeJSON       FieldType = 0xf5
	TypeNewDecimal FieldType = 0xf6
	TypeEnum       FieldType = 0xf7
	TypeSet        FieldType = 0xf8
	TypeTinyBlob   FieldType = 0xf9
	TypeMediumBlob FieldType = 0xfa
	TypeLongBlob   FieldType = 0xfb
	TypeBlob       FieldType = 0xfc
	TypeVarString  FieldType = 0xfd
	TypeString     FieldType = 0xfe
	TypeGeometry   FieldType = 0xff
)

// The column flags that decisions look at.
const (
	FlagNotNull  uint16 = 1 << 0
	FlagUnsigned uint16 = 1 << 5
	FlagBinary   uint16 = 1 << 7
)

// Collations that sidewire itself names; all others pass through as numbers.
const (
	CollationBinary    = 63
	CollationUTF8MB4   = 45  // utf8mb4_general_ci, known to MySQL and MariaDB alike
	CollationUTF8MB4v8 = 255 // utf8mb4_0900_ai_ci, MySQL 8 and newer
)
