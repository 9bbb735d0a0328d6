/* tests/e2e/root/udp.c - prints what comes to a UDP port, and sends it back
 * SPDX-License-Identifier: Apache-2.0
 *
 * udp PORT: each datagram is printed and sent back to where it came from.
 */
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in peer,
		own = {.sin_family = AF_INET,
		       .sin_port = htons((uint16_t)atoi(argc > 1 ? argv[1] : "0"))};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char data[2048];

	if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0)
		return 1;
	for (;;) {
		socklen_t len = sizeof(peer);
		ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&peer, &len);

		if (n < 0 || write(1, data, (size_t)n) != n ||
		    sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&peer, len) != n)
			return 1;
	}
}
