/* tests/e2e/root/ping.c - one echo request to 127.0.0.1 by a socket that takes no capability
 * SPDX-License-Identifier: Apache-2.0
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>

int main(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct icmphdr request = {.type = ICMP_ECHO};
	const struct timeval patience = {.tv_sec = 10};
	struct icmphdr reply = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    sendto(fd, &request, sizeof(request), 0, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    recv(fd, &reply, sizeof(reply), 0) < 0 || reply.type != ICMP_ECHOREPLY) {
		perror("ping");
		return 1;
	}
	puts("answered");
	return 0;
}
