package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// refuseAdmin refuses what administers a cluster.
func refuseAdmin(req kmsg.Request, resp kmsg.Response, code int16) bool {
	return refuseConfig(req, resp, code) || refuseACLs(req, resp, code) || refuseShares(req, resp, code) || refuseAccounts(req, resp, code) || refuseCluster(req, resp, code)
}

func refuseConfig(req kmsg.Request, resp kmsg.Response, code int16) bool {
	switch r := req.(type) {
	case *kmsg.DescribeConfigsRequest:
		out := resp.(*kmsg.DescribeConfigsResponse)
		for _, x := range r.Resources {
			rx := kmsg.NewDescribeConfigsResponseResource()
			rx.ResourceType, rx.ResourceName, rx.ErrorCode = x.ResourceType, x.ResourceName, code
			out.Resources = append(out.Resources, rx)
		}
	case *kmsg.AlterConfigsRequest:
		out := resp.(*kmsg.AlterConfigsResponse)
		for _, x := range r.Resources {
			rx := kmsg.NewAlterConfigsResponseResource()
			rx.ResourceType, rx.ResourceName, rx.ErrorCode = x.ResourceType, x.ResourceName, code
			out.Resources = append(out.Resources, rx)
		}
	case *kmsg.IncrementalAlterConfigsRequest:
		out := resp.(*kmsg.IncrementalAlterConfigsResponse)
		for _, x := range r.Resources {
			rx := kmsg.NewIncrementalAlterConfigsResponseResource()
			rx.ResourceType, rx.ResourceName, rx.ErrorCode = x.ResourceType, x.ResourceName, code
			out.Resources = append(out.Resources, rx)
		}
	default:
		return false
	}
	return true
}

func refuseACLs(req kmsg.Request, resp kmsg.Response, code int16) bool {
	switch r := req.(type) {
	case *kmsg.CreateACLsRequest:
		out := resp.(*kmsg.CreateACLsResponse)
		for range r.Creations {
			result := kmsg.NewCreateACLsResponseResult()
			result.ErrorCode = code
			out.Results = append(out.Results, result)
		}
	case *kmsg.DeleteACLsRequest:
		out := resp.(*kmsg.DeleteACLsResponse)
		for range r.Filters {
			result := kmsg.NewDeleteACLsResponseResult()
			result.ErrorCode = code
			out.Results = append(out.Results, result)
		}
	default:
		return false
	}
	return true
}

func refuseShares(req kmsg.Request, resp kmsg.Response, code int16) bool {
	switch r := req.(type) {
	case *kmsg.ShareGroupDescribeRequest:
		out := resp.(*kmsg.ShareGroupDescribeResponse)
		for _, id := range r.GroupIDs {
			g := kmsg.NewShareGroupDescribeResponseGroup()
			g.GroupID, g.ErrorCode = id, code
			out.Groups = append(out.Groups, g)
		}
	case *kmsg.StreamsGroupDescribeRequest:
		out := resp.(*kmsg.StreamsGroupDescribeResponse)
		for _, id := range r.Groups {
			g := kmsg.NewStreamsGroupDescribeResponseGroup()
			g.Group, g.ErrorCode = id, code
			out.Groups = append(out.Groups, g)
		}
	case *kmsg.DescribeShareGroupOffsetsRequest:
		out := resp.(*kmsg.DescribeShareGroupOffsetsResponse)
		for _, rg := range r.Groups {
			g := kmsg.NewDescribeShareGroupOffsetsResponseGroup()
			g.GroupID, g.ErrorCode = rg.GroupID, code
			out.Groups = append(out.Groups, g)
		}
	default:
		return false
	}
	return true
}

func refuseAccounts(req kmsg.Request, resp kmsg.Response, code int16) bool {
	switch r := req.(type) {
	case *kmsg.AlterClientQuotasRequest:
		out := resp.(*kmsg.AlterClientQuotasResponse)
		for _, e := range r.Entries {
			re := kmsg.NewAlterClientQuotasResponseEntry()
			re.ErrorCode = code
			for _, part := range e.Entity {
				rp := kmsg.NewAlterClientQuotasResponseEntryEntity()
				rp.Type, rp.Name = part.Type, part.Name
				re.Entity = append(re.Entity, rp)
			}
			out.Entries = append(out.Entries, re)
		}
	case *kmsg.AlterUserSCRAMCredentialsRequest:
		out := resp.(*kmsg.AlterUserSCRAMCredentialsResponse)
		refuse := func(user string) {
			result := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
			result.User, result.ErrorCode = user, code
			out.Results = append(out.Results, result)
		}
		for _, d := range r.Deletions {
			refuse(d.Name)
		}
		for _, u := range r.Upsertions {
			refuse(u.Name)
		}
	default:
		return false
	}
	return true
}
