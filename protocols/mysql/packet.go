package mysql

// Header reads a packet header. b must hold HeaderLen bytes.
func Header(b []byte) (length int, seq byte) {
	_ = b[3]
	return int(b[0]) | int(b[1])<<8 | int(b[2])<<16, b[3]
}

// PutHeader writes a packet header over the first HeaderLen bytes of b.
func PutHeader(b []byte, length int, seq byte) {
	_ = b[3]
	b[0], b[1], b[2], b[3] = byte(length), byte(length>>8), byte(length>>16), seq
}

// BeginPacket makes room for a header; the payload is appended after it and
// EndPacket, given the same mark, fills the header in.
func BeginPacket(dst []byte) (b []byte, mark int) {
	return append(dst, 0, 0, 0, 0), len(dst)
}

// EndPacket completes the packet begun at mark with sequence number seq and
// returns the sequence number of the packet after it. A payload of 16 MB and
// more becomes several packets.
func EndPacket(b []byte, mark int, seq byte) ([]byte, byte) {
	n := len(b) - mark - HeaderLen
	if n < MaxPayload {
		PutHeader(b[mark:], n, seq)
		return b, seq + 1
	}
	payload := append([]byte(nil), b[mark+HeaderLen:]...)
	return AppendPacket(b[:mark], seq, payload)
}

// AppendPacket appends payload as one packet, or as several if it is 16 MB or
// more, and returns the sequence number of the packet after it.
func AppendPacket(dst []byte, seq byte, payload []byte) ([]byte, byte) {
	for {
		n := min(len(payload), MaxPayload)
		dst = append(dst, byte(n), byte(n>>8), byte(n>>16), seq)
		dst = append(dst, payload[:n]...)
		payload = payload[n:]
		seq++
		if n < MaxPayload {
			return dst, seq
		}
	}
}

// CompressedHeaderLen is the length of a compressed packet's header.
const CompressedHeaderLen = 7

// CompressedHeader reads the header of a compressed packet: the length of its payload, its number, and the length of
// what comes out of it; 0 says that the payload is not compressed. b must hold CompressedHeaderLen bytes.
func CompressedHeader(b []byte) (length int, seq byte, plain int) {
	_ = b[6]
	return int(b[0]) | int(b[1])<<8 | int(b[2])<<16, b[3], int(b[4]) | int(b[5])<<8 | int(b[6])<<16
}

// PutCompressedHeader writes it over the first CompressedHeaderLen bytes of b.
func PutCompressedHeader(b []byte, length int, seq byte, plain int) {
	_ = b[6]
	PutHeader(b, length, seq)
	b[4], b[5], b[6] = byte(plain), byte(plain>>8), byte(plain>>16)
}
