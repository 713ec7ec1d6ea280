package mysql

import "strings"

// Why a session stays on its connection although no transaction is open. The names are those of the metric and of the
// admin interface.
const (
	pinSet             = "set"              // a SET that cannot be carried
	pinNextTransaction = "next-transaction" // SET TRANSACTION waits for it
	pinUserVariable    = "user-variable"    // assigned what only this server knows
	pinTemporaryTable  = "temporary-table"
	pinLockTables      = "lock-tables"
	pinUserLock        = "user-lock" // GET_LOCK
	pinTextPrepare     = "text-prepare"
	pinHandler         = "handler"
	pinXA              = "xa"
	pinLongData        = "long-data"
	pinCursor          = "cursor"
	pinFoundRows       = "found-rows"
	pinState           = "untracked-state" // the server says that its session changed, and nothing says how
	pinOversize        = "oversize"        // a statement too long to be read whole
)

// pins are the reasons that now hold.
type pins struct{ list []string }

func (p *pins) any() bool { return len(p.list) > 0 }

func (p *pins) has(reason string) bool {
	for _, r := range p.list {
		if r == reason {
			return true
		}
	}
	return false
}

// add adds a reason and reports whether it is new.
func (p *pins) add(reason string) bool {
	if p.has(reason) {
		return false
	}
	p.list = append(p.list, reason)
	return true
}

// remove takes a reason back and reports whether it held.
func (p *pins) remove(reason string) bool {
	for i, r := range p.list {
		if r == reason {
			p.list = append(p.list[:i], p.list[i+1:]...)
			return true
		}
	}
	return false
}

func (p *pins) String() string { return strings.Join(p.list, ",") }
