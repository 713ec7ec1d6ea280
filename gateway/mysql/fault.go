package mysql

import (
	"errors"
	"fmt"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

const (
	millisecond = time.Millisecond
	second      = time.Second
	minute      = time.Minute
	hour        = time.Hour
)

// Error numbers that sidewire itself answers with, all of them a server's own: client libraries keep 2000 to 2999 for
// themselves and take one of those for a malformed packet.
const (
	codeTooManyConnections     = 1040
	codeOutOfResources         = 1041
	codeHandshake              = 1043
	codeAccessDenied           = 1045
	codeUnknownCommand         = 1047
	codeServerShutdown         = 1053
	codeDuplicate              = 1062
	codeSyntax                 = 1064
	codeNoSuchThread           = 1094
	codeKillDenied             = 1095
	codePacketTooLarge         = 1153
	codeNotSupported           = 1235
	codeTransactionOpen        = 1568
	codeUnknownStatement       = 1243
	codeTooManyUserConnections = 1203
	codeNoDatabase             = 1046
	codeUnknownDatabase        = 1049
	codeEmptyQuery             = 1065
	codeLockWait               = 1205
	codeDeadlock               = 1213
	codeNoSavepoint            = 1305
	codeReadOnly               = 1290
	codeReadOnlyTransaction    = 1792
	codeReadOnlyMode           = 1836
	codeNoServer               = 1429
	codeWrongArguments         = 1210
	codeInterrupted            = 1317
	codeStatementTimeout       = 3024
	// codeStatementTimeoutMariaDB is what MariaDB says for it.
	codeStatementTimeoutMariaDB = 1969
	codeNoCursor                = 1421
	codeTooManyPrepared         = 1461
	codeReprepare               = 1615
	codeRolledBack              = 3101
	codeMalformed               = 1835
	codeLoadLocal               = 3948
	codeInteractionTimeout      = 4031
	codeLostConnection          = 1158
	stateGeneral                = "HY000"
	stateCommunication          = "08S01"
	stateRejected               = "08004"
	stateSyntax                 = "42000"
	stateTransactionOpen        = "25001"
	stateAccess                 = "28000"
	stateInterrupted            = "70100"
	stateCompletion             = "40003"
	stateResolution             = "08007"
	stateRolledBack             = "40000"
)

// fault makes an error for a client.
func fault(code uint16, state, format string, args ...any) *wire.Error {
	return &wire.Error{Code: code, State: state, Message: fmt.Sprintf(format, args...)}
}

// clientFault puts any error into words a client understands. What comes from a server, or was made for a client,
// stays as it is.
func clientFault(err error) *wire.Error {
	var e *wire.Error
	var none *cluster.NoEndpoint
	var full *cluster.Overloaded
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &full):
		return fault(codeTooManyConnections, stateRejected, "sidewire: %s", full)
	case errors.As(err, &none):
		return fault(codeNoServer, stateRejected, "sidewire: %s", none)
	case errors.Is(err, wire.ErrMalformed):
		return fault(codeMalformed, stateGeneral, "sidewire: %s", err)
	default:
		return fault(codeNoServer, stateRejected, "sidewire: %s", err)
	}
}
