package kafka

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Offer says whether an API may be offered to clients, and up to which version, given what the table knows of it.
type Offer func(key int16, api API) (max int16, ok bool)

// IntersectApiVersions appends the ApiVersions response body that a client may see: what the broker speaks and sidewire
// understands. Keys sidewire does not know and those only brokers use are left out. The broker's minimum is kept
// as it is, Produce's above all: librdkafka before 2.8 takes a raised minimum for a broker that cannot compress (KAFKA-18659).
//
// A broker that does not know the request's version answers in the format of version 0 with error 35, whatever was
// asked (KIP-511); then the body is decoded and written as version 0.
func IntersectApiVersions(dst []byte, version int16, body []byte, offer Offer) ([]byte, error) {
	if len(body) < 2 {
		return dst, fmt.Errorf("rewriting ApiVersions v%d response: %w", version, ErrShort)
	}
	if int16(binary.BigEndian.Uint16(body)) == ErrCodeUnsupportedVersion {
		version = 0
	}
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = version
	if err := DecodeResponse(resp, body); err != nil {
		return dst, err
	}
	kept := resp.ApiKeys[:0]
	for _, k := range resp.ApiKeys {
		api, ok := Lookup(k.ApiKey)
		if !ok || api.BrokerOnly {
			continue
		}
		limit := api.Max
		if offer != nil {
			if limit, ok = offer(k.ApiKey, api); !ok {
				continue
			}
		}
		k.MaxVersion = min(k.MaxVersion, limit)
		if k.MaxVersion >= k.MinVersion {
			kept = append(kept, k)
		}
	}
	resp.ApiKeys = kept
	return resp.AppendTo(dst), nil
}

// AppendUnsupportedApiVersions appends a whole response frame for an ApiVersions request newer than sidewire: version 0
// and error 35, naming the versions of ApiVersions itself up to limit, so that the client asks again in a way both understand.
func AppendUnsupportedApiVersions(dst []byte, correlation int32, limit int16) []byte {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = ErrCodeUnsupportedVersion
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MaxVersion = ApiVersions, limit
	resp.ApiKeys = append(resp.ApiKeys, k)
	return AppendResponse(dst, correlation, resp)
}

// AppendResponse appends a whole frame: length, header, body.
func AppendResponse(dst []byte, correlation int32, resp kmsg.Response) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlation))
	if ResponseHeaderVersion(resp.Key(), resp.GetVersion()) == 1 {
		dst = append(dst, 0)
	}
	dst = resp.AppendTo(dst)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// AppendRequest appends a whole frame for a request of sidewire's own.
func AppendRequest(dst []byte, correlation int32, clientID string, req kmsg.Request) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(req.Key()))
	dst = binary.BigEndian.AppendUint16(dst, uint16(req.GetVersion()))
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlation))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(clientID)))
	dst = append(dst, clientID...)
	if RequestHeaderVersion(req.Key(), req.GetVersion()) == 2 {
		dst = append(dst, 0)
	}
	dst = req.AppendTo(dst)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}
