package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// NameKind is what a name names.
type NameKind int

// The kinds of names.
const (
	NameTopic NameKind = iota
	NameGroup
	NameTxn
)

// wildcard is the literal name in an ACL that stands for all names. To those who see a part of the cluster it is the beginning
// that all their names have, and so it becomes a prefixed pattern, and back.
const wildcard = "*"

var aclKinds = map[kmsg.ACLResourceType]NameKind{kmsg.ACLResourceTypeTopic: NameTopic, kmsg.ACLResourceTypeGroup: NameGroup,
	kmsg.ACLResourceTypeTransactionalId: NameTxn}

func (m *mapper) literal(kind NameKind, name *string) bool {
	switch kind {
	case NameTopic:
		return m.topic(name)
	case NameGroup:
		return m.group(name)
	}
	return m.txn(name)
}

// aclUp maps what an ACL, or a filter with a name, is about.
func (m *mapper) aclUp(resource kmsg.ACLResourceType, pattern *kmsg.ACLResourcePatternType, name *string) bool {
	kind, named := aclKinds[resource]
	switch {
	case m.Shared(): // all names are everybody's, and a pattern is what it is
		return !named || *name == wildcard || *pattern == kmsg.ACLResourcePatternTypePrefixed || m.literal(kind, name)
	case !named:
		m.refused = true
		return false
	case *name == wildcard && *pattern != kmsg.ACLResourcePatternTypePrefixed:
		*name, *pattern = "", kmsg.ACLResourcePatternTypePrefixed
		fallthrough
	case *pattern == kmsg.ACLResourcePatternTypePrefixed:
		mapped, ok := m.Beginning(kind, *name)
		return m.settle(name, mapped, ok)
	}
	asked := *name
	ok := m.literal(kind, name)
	if mapped, same := m.Beginning(kind, asked); *pattern == kmsg.ACLResourcePatternTypeAny && (!same || mapped != *name) {
		*pattern = kmsg.ACLResourcePatternTypeLiteral // an alias begins no names
	}
	return ok
}

// aclDown is the reverse: ok false where an ACL is about what is not the client's, or about more than that.
func (m *mapper) aclDown(resource kmsg.ACLResourceType, pattern *kmsg.ACLResourcePatternType, name *string) bool {
	if m.Shared() {
		return true
	}
	kind, named := aclKinds[resource]
	if !named || *pattern == kmsg.ACLResourcePatternTypeLiteral && *name == wildcard {
		return false
	}
	if *pattern != kmsg.ACLResourcePatternTypePrefixed {
		return m.literal(kind, name)
	}
	mapped, ok := m.Beginning(kind, *name)
	if *name = mapped; ok && mapped == "" {
		*name, *pattern = wildcard, kmsg.ACLResourcePatternTypeLiteral
	}
	return ok
}

// mapACLRequest maps ACLs and filters over them. A filter that names nothing may list, since what is not the client's is taken out
// of the answer, but it may not delete; nor may one that matches by more than equality.
func mapACLRequest(req kmsg.Request, m *mapper) (known bool) {
	switch r := req.(type) {
	case *kmsg.DescribeACLsRequest:
		_, named := aclKinds[r.ResourceType]
		if named = named || r.ResourceType == kmsg.ACLResourceTypeAny; !m.Shared() && (!named || r.Version == 0) {
			m.refused = true // version 0 has no prefixed patterns
		}
		if r.ResourceName != nil {
			m.aclUp(r.ResourceType, &r.ResourcePatternType, r.ResourceName)
		}
	case *kmsg.CreateACLsRequest:
		m.refused = m.refused || !m.Shared() && r.Version == 0
		for i := range r.Creations {
			m.aclUp(r.Creations[i].ResourceType, &r.Creations[i].ResourcePatternType, &r.Creations[i].ResourceName)
		}
	case *kmsg.DeleteACLsRequest:
		m.refused = m.refused || !m.Shared() && r.Version == 0
		for i := range r.Filters {
			f := &r.Filters[i]
			if !m.Shared() && (f.ResourceName == nil || f.ResourcePatternType == kmsg.ACLResourcePatternTypeMatch) {
				m.refused = true
			} else if f.ResourceName != nil {
				m.aclUp(f.ResourceType, &f.ResourcePatternType, f.ResourceName)
			}
		}
	default:
		return false
	}
	return true
}

func mapACLResponse(resp kmsg.Response, m *mapper) (known bool) {
	switch r := resp.(type) {
	case *kmsg.DescribeACLsResponse:
		m.message(r.ErrorMessage)
		keep(&r.Resources, func(x *kmsg.DescribeACLsResponseResource) bool {
			return m.aclDown(x.ResourceType, &x.ResourcePatternType, &x.ResourceName)
		})
	case *kmsg.CreateACLsResponse:
		for i := range r.Results {
			m.message(r.Results[i].ErrorMessage)
		}
	case *kmsg.DeleteACLsResponse:
		for i := range r.Results {
			m.message(r.Results[i].ErrorMessage)
			keep(&r.Results[i].MatchingACLs, func(x *kmsg.DeleteACLsResponseResultMatchingACL) bool {
				m.message(x.ErrorMessage)
				return m.aclDown(x.ResourceType, &x.ResourcePatternType, &x.ResourceName)
			})
		}
	default:
		return false
	}
	return true
}
