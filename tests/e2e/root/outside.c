/* tests/e2e/root/outside.c - who may chroot(2) leaves its root, and lists where it comes to
 * SPDX-License-Identifier: Apache-2.0
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void)
{
	struct dirent *entry;
	DIR *dir;

	/* A root below the working directory: ".." never meets it. */
	(void)mkdir("/tmp/inner", 0700);
	if (chdir("/") < 0 || chroot("/tmp/inner") < 0) {
		perror("chroot");
		return 1;
	}
	for (int i = 0; i < 64; i++)
		(void)chdir("..");
	if (chroot(".") < 0 || !(dir = opendir("."))) {
		perror("outside");
		return 1;
	}
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			puts(entry->d_name);
	return 0;
}
