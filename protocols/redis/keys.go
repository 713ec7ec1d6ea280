package redis

import "errors"

// ErrKeys is returned when a command's arguments contradict its key specification.
var ErrKeys = errors.New("invalid arguments specified for command")

// AppendKeys appends the positions of a request's keys to dst, in the order of the arguments. A command that names its keys by number
// (EVAL, ZUNION) and whose number is wrong is an error, so that it is never sent to a shard by a guess.
func (c *Command) AppendKeys(dst []int, r *Request) ([]int, error) {
	if c.simple > 0 {
		if int(c.simple) < r.Len() {
			dst = append(dst, int(c.simple))
		}
		return dst, nil
	}
	switch c.Name {
	case "sort":
		return appendSortKeys(dst, r), nil
	case "sort_ro": // whatever says STORE is wrong, and no key
		if r.Len() > 1 {
			dst = append(dst, 1)
		}
		return dst, nil
	case "migrate":
		return appendMigrateKeys(dst, r), nil
	}
	var err error
	for i := range c.Keys {
		if dst, err = c.Keys[i].append(dst, r); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func (k *KeySpec) append(dst []int, r *Request) ([]int, error) {
	if k.Unknown {
		return dst, nil
	}
	first := int(k.Index)
	if k.Keyword != "" {
		if first = k.search(r); first == 0 {
			return dst, nil
		}
	}
	n := r.Len()
	if first >= n {
		return dst, nil
	}
	step := max(int(k.Step), 1)
	if k.Numbered {
		at := first + int(k.Number)
		if at >= n {
			return dst, ErrKeys
		}
		count, ok := ParseInt(r.Arg(at))
		first += int(k.First)
		if !ok || count < 0 || count > int64(n) || first+(int(count)-1)*step >= n {
			return dst, ErrKeys
		}
		for i := range int(count) {
			dst = append(dst, first+i*step)
		}
		return dst, nil
	}
	last := first + int(k.Last)
	if k.Last < 0 {
		last = n + int(k.Last)
		if k.Limit > 1 {
			if (n-first)%int(k.Limit) != 0 {
				return dst, ErrKeys // "Unbalanced list of streams"
			}
			last = first + (n-first)/int(k.Limit) - 1
		}
	}
	for i := first; i <= last && i < n; i += step {
		dst = append(dst, i)
	}
	return dst, nil
}

// search returns the position after the keyword, or 0.
func (k *KeySpec) search(r *Request) int {
	if k.From < 0 {
		for i := r.Len() + int(k.From); i > 0; i-- {
			if EqualFold(r.Arg(i), k.Keyword) {
				return i + 1
			}
		}
		return 0
	}
	for i := max(int(k.From), 1); i < r.Len(); i++ {
		if EqualFold(r.Arg(i), k.Keyword) {
			return i + 1
		}
	}
	return 0
}

// appendSortKeys knows SORT's STORE, which Redis's specification leaves open. The last STORE counts (sort.c).
func appendSortKeys(dst []int, r *Request) []int {
	if r.Len() < 2 {
		return dst
	}
	dst = append(dst, 1)
	store := 0
	for i := 2; i < r.Len(); i++ {
		switch a := r.Arg(i); {
		case EqualFold(a, "limit"):
			i += 2
		case EqualFold(a, "store"):
			store = i + 1
			i++
		case EqualFold(a, "get"), EqualFold(a, "by"):
			i++
		}
	}
	if store > 0 && store < r.Len() {
		dst = append(dst, store)
	}
	return dst
}

// appendMigrateKeys knows MIGRATE's KEYS, which counts only if the key before it is empty (db.c).
func appendMigrateKeys(dst []int, r *Request) []int {
	if r.Len() < 6 {
		return dst
	}
	if len(r.Arg(3)) > 0 {
		return append(dst, 3)
	}
	for i := 6; i < r.Len(); i++ {
		if EqualFold(r.Arg(i), "keys") {
			for j := i + 1; j < r.Len(); j++ {
				dst = append(dst, j)
			}
			break
		}
	}
	return dst
}
