/* A netfilter queue, one packet at a time, and nothing else: what the way of a packet through user
 * space costs at least where each has a recv and a verdict of its own.
 *
 *     cc -O2 -o nfqueue_one nfqueue_one.c && ./nfqueue_one QUEUE
 *
 * Prints "ready". Each packet is read whole and given back as it was, to be forwarded; a router that
 * changes it has to do that besides. Ends with a signal.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static char in[1 << 17], out[1 << 17];
static struct nlmsghdr *message;

static void begin(int type, int queue) {
    memset(out, 0, NLMSG_HDRLEN + sizeof(struct nfgenmsg));
    message = (struct nlmsghdr *)out;
    message->nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | type;
    message->nlmsg_flags = NLM_F_REQUEST;
    message->nlmsg_len = NLMSG_LENGTH(sizeof(struct nfgenmsg));
    ((struct nfgenmsg *)NLMSG_DATA(message))->res_id = htons(queue);
}

static void add(int type, const void *data, int length) {
    struct nlattr *attribute = (void *)(out + message->nlmsg_len);
    attribute->nla_type = type;
    attribute->nla_len = NLA_HDRLEN + length;
    memcpy((char *)attribute + NLA_HDRLEN, data, length);
    message->nlmsg_len += NLA_ALIGN(attribute->nla_len);
}

static void tell(int sock) {
    if (send(sock, out, message->nlmsg_len, 0) < 0)
        perror("send");
}

int main(int count, char **arguments) {
    int queue = count > 1 ? atoi(arguments[1]) : 0;
    int sock = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER), size = 16 << 20, one = 1;
    struct sockaddr_nl own = {.nl_family = AF_NETLINK};
    struct nfqnl_msg_config_cmd bind_command = {NFQNL_CFG_CMD_BIND, 0, htons(AF_INET)};
    struct nfqnl_msg_config_params whole = {htonl(0xffff), NFQNL_COPY_PACKET};
    unsigned longest = htonl(8192);
    if (sock < 0 || bind(sock, (void *)&own, sizeof own) < 0) {
        perror("netlink");
        return 1;
    }
    setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(sock, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof one);
    begin(NFQNL_MSG_CONFIG, queue);
    add(NFQA_CFG_CMD, &bind_command, sizeof bind_command);
    tell(sock);
    begin(NFQNL_MSG_CONFIG, queue);
    add(NFQA_CFG_PARAMS, &whole, 5);
    add(NFQA_CFG_QUEUE_MAXLEN, &longest, sizeof longest);
    tell(sock);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int got = recv(sock, in, sizeof in, 0);
        struct nlmsghdr *packet = (void *)in;
        struct nfqnl_msg_verdict_hdr verdict = {htonl(NF_ACCEPT), 0};
        const void *payload = NULL;
        int length = 0;
        if (got < 0 && errno != ENOBUFS && errno != EINTR) {
            perror("recv");
            return 1;
        }
        if (got < 0 || (packet->nlmsg_type & 0xff) != NFQNL_MSG_PACKET)
            continue;
        for (int at = NLMSG_LENGTH(sizeof(struct nfgenmsg)); at + NLA_HDRLEN <= got;) {
            struct nlattr *attribute = (void *)(in + at);
            if ((attribute->nla_type & NLA_TYPE_MASK) == NFQA_PACKET_HDR)
                verdict.id = ((struct nfqnl_msg_packet_hdr *)(attribute + 1))->packet_id;
            if ((attribute->nla_type & NLA_TYPE_MASK) == NFQA_PAYLOAD) {
                payload = attribute + 1;
                length = attribute->nla_len - NLA_HDRLEN;
            }
            at += NLA_ALIGN(attribute->nla_len);
        }
        if (payload == NULL)
            continue;
        begin(NFQNL_MSG_VERDICT, queue);
        add(NFQA_VERDICT_HDR, &verdict, sizeof verdict);
        add(NFQA_PAYLOAD, payload, length);
        tell(sock);
    }
}
