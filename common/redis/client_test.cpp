// Against a real Redis.
#include "common/redis/client.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "tests/support/redis_server.h"
#include "tests/support/wait_until.h"

namespace gema::redis {
namespace {

class RedisClient : public ::testing::Test {
 protected:
  RedisClient() { std::signal(SIGPIPE, SIG_IGN); }
  gema::testing::RedisServer server_;
  Client client_{{.socket = server_.socket_path()}};
};

const std::string kBinary("a\0b\r\n%s\xff", 8);

TEST_F(RedisClient, CarriesAnyBytesInKeysAndValues) {
  ASSERT_TRUE(client_.run({"SET", kBinary, kBinary}));
  auto reply = client_.run({"GET", kBinary});
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->kind, Reply::Kind::kText);
  EXPECT_EQ(reply->text, kBinary);
  EXPECT_EQ(client_.run({"GET", "nothing"})->kind, Reply::Kind::kNil);
  EXPECT_EQ(client_.run({"INCR", "n"})->integer, 1);
}

TEST_F(RedisClient, AnErrorReplyIsPermanentAndTheConnectionGoesOn) {
  ASSERT_TRUE(client_.run({"SET", "k", "v"}));
  auto reply = client_.run({"HGET", "k", "f"});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Errc::kPermanent);
  EXPECT_NE(reply.error().message.find("WRONGTYPE"), std::string::npos);
  EXPECT_TRUE(client_.connected());
  EXPECT_TRUE(client_.run({"PING"}));
}

TEST_F(RedisClient, APipelineKeepsErrorRepliesInTheirPlace) {
  const std::vector<Command> commands = {{"SET", "k", "v"}, {"INCR", "k"}, {"GET", "k"}};
  auto replies = client_.pipeline(commands);
  ASSERT_TRUE(replies);
  EXPECT_EQ((*replies)[1].kind, Reply::Kind::kError);
  EXPECT_EQ((*replies)[2].text, "v");
}

TEST_F(RedisClient, ATransactionRefusedByOneCommandDoesNothing) {
  const std::vector<Command> commands = {{"SET", "k", "v"}, {"NOSUCHCOMMAND"}};
  auto done = client_.transact(commands);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Errc::kPermanent);
  EXPECT_EQ(client_.run({"EXISTS", "k"})->integer, 0);
}

TEST_F(RedisClient, ATransactionWhoseWatchedKeyChangedDoesNothing) {
  Client other{{.socket = server_.socket_path()}};
  ASSERT_TRUE(client_.run({"WATCH", "id"}));
  ASSERT_TRUE(other.run({"SET", "id", "theirs"}));
  const std::vector<Command> commands = {{"SET", "id", "ours"}};
  auto done = client_.transact(commands);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, Errc::kRetryable);
  EXPECT_EQ(client_.run({"GET", "id"})->text, "theirs");
}

TEST_F(RedisClient, ATransactionOfManyMegabytesArrives) {
  std::vector<Command> commands;
  for (int i = 0; i < 400; ++i) {
    Command& command = commands.emplace_back(Command{"HSET", "states"});
    for (int k = 0; k < 250; ++k) {
      command.push_back(std::to_string(i * 250 + k));
      command.emplace_back(100, 'x');
    }
  }
  auto done = client_.transact(commands);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(client_.run({"HLEN", "states"})->integer, 100'000);
  auto all = client_.run({"HGETALL", "states"});
  ASSERT_TRUE(all);
  EXPECT_EQ(all->items.size(), 200'000U);
}

TEST_F(RedisClient, ReconnectsByItselfAfterRedisWasKilled) {
  ASSERT_TRUE(client_.run({"SET", "k", "v"}));
  server_.kill9();
  auto reply = client_.run({"GET", "k"});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Errc::kUnavailable);
  EXPECT_FALSE(client_.connected());
  EXPECT_EQ(client_.run({"GET", "k"}).error().code, Errc::kUnavailable);  // nobody listens
  server_.start();
  EXPECT_TRUE(client_.run({"PING"}));
}

TEST_F(RedisClient, AnAnswerThatDoesNotComeIsATimeoutAndTheConnectionIsForgotten) {
  Client hasty{{.socket = server_.socket_path(), .command_timeout = 50ms}};
  auto reply = hasty.run({"BLPOP", "empty", "0"});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Errc::kTimeout);
  EXPECT_FALSE(hasty.connected());
  EXPECT_EQ(hasty.run({"PING"})->text, "PONG");  // not the late answer to BLPOP
}

TEST(RedisPassword, IsReadFromItsFileAndAWrongOneIsPermanent) {
  std::signal(SIGPIPE, SIG_IGN);
  gema::testing::TempDir dir;
  std::ofstream(dir / "right") << "s3cret %s\n";
  std::ofstream(dir / "wrong") << "guess\n";
  gema::testing::RedisServer server;
  const std::string socket = server.socket_path();
  ASSERT_TRUE(Client({.socket = socket}).run({"CONFIG", "SET", "requirepass", "s3cret %s"}));
  Client right{{.socket = socket, .password_file = dir / "right"}};
  Client wrong{{.socket = socket, .password_file = dir / "wrong"}};
  Client missing{{.socket = socket, .password_file = dir / "missing"}};
  Client without{{.socket = socket}};
  EXPECT_TRUE(right.run({"PING"}));
  EXPECT_EQ(wrong.run({"PING"}).error().code, Errc::kPermanent);
  EXPECT_EQ(missing.run({"PING"}).error().code, Errc::kPermanent);
  auto refused = without.run({"PING"});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("NOAUTH"), std::string::npos);
}

TEST(RedisTcp, NobodyListeningIsUnavailable) {
  Client client{{.host = "127.0.0.1", .port = 1, .connect_timeout = 500ms}};
  auto reply = client.run({"PING"});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Errc::kUnavailable);
}

TEST(RedisClassify, TellsPassingErrorsFromLastingOnes) {
  for (const char* passing :
       {"LOADING Redis is loading the dataset in memory", "OOM command not",
        "MISCONF Redis is configured to", "READONLY You can't write",
        "BUSY Redis is busy running a script", "ERR max number of clients reached"}) {
    EXPECT_EQ(classify(passing), Errc::kRetryable) << passing;
  }
  for (const char* lasting : {"ERR unknown command", "NOAUTH Authentication required.",
                              "WRONGPASS invalid", "WRONGTYPE Operation against", "NOPERM this"}) {
    EXPECT_EQ(classify(lasting), Errc::kPermanent) << lasting;
  }
}

}  // namespace
}  // namespace gema::redis
