"""Answers echo requests to some addresses late, or several times: what the kernel does not do. Runs in
the lab's far side; see Lab.answer_late().

    responder.py INTERFACE DELAY_S COPIES ADDRESS...
"""
import heapq
import select
import socket
import struct
import sys
import time

IPV4_HEADER = struct.Struct("!BBHHHBBH4s4s")
ETH_P_IP = 0x0800


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def reply_to(packet, addresses):
    """(bytes, destination) of the answer to an IPv4 packet, or None."""
    if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_ICMP:
        return None
    header = (packet[0] & 15) * 4
    length = struct.unpack("!H", packet[2:4])[0]
    source, target = packet[12:16], packet[16:20]
    icmp = packet[header:length]
    if target not in addresses or len(icmp) < 8 or icmp[0] != 8:
        return None
    body = b"\0\0\0\0" + icmp[4:]
    body = b"\0\0" + struct.pack("!H", checksum(body)) + icmp[4:]
    ip = IPV4_HEADER.pack(0x45, 0, 20 + len(body), 0, 0, 64, socket.IPPROTO_ICMP, 0, target, source)
    return ip + body, socket.inet_ntoa(source)


def main():
    interface, delay, copies = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    addresses = {socket.inet_aton(text) for text in sys.argv[4:]}
    heard = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    heard.bind((interface, 0))
    said = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    print("answering", flush=True)
    due = []  # (when, bytes, destination)
    while True:
        wait = max(0.0, due[0][0] - time.monotonic()) if due else None
        if select.select([heard], [], [], wait)[0]:
            answer = reply_to(heard.recv(65536), addresses)
            if answer:
                heapq.heappush(due, (time.monotonic() + delay, *answer))
        while due and due[0][0] <= time.monotonic():
            _, packet, destination = heapq.heappop(due)
            for _ in range(copies):
                said.sendto(packet, (destination, 0))


if __name__ == "__main__":
    main()
